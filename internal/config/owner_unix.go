//go:build unix

package config

import (
	"io/fs"
	"syscall"
)

// ownerOf is the user id of a file's owner; false where the system does not say.
func ownerOf(info fs.FileInfo) (uid int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
