//go:build !linux

package sandbox

import "errors"

// Enter gives nothing up: there is no such mechanism here.
func Enter(Options) Status {
	return Status{Missing: []string{"sandbox: only Linux has one"}}
}

var errNoUser = errors.New("changing the user needs Linux")

// ChangeUser is not supported here.
func ChangeUser(string, []string) error { return errNoUser }

// CheckUser fails as ChangeUser does.
func CheckUser(string, []string) error { return errNoUser }
