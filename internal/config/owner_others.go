//go:build !unix

package config

import "io/fs"

// ownerOf does not know.
func ownerOf(fs.FileInfo) (uid int, known bool) { return 0, false }
