//go:build !linux

package state

import "os"

// lockFile takes no lock here.
func lockFile(string) (*os.File, error) { return nil, nil }

// lockExisting takes none either.
func lockExisting(string) (*os.File, error) { return nil, nil }
