// Package ui holds the built page, so that the program is one file. `./task build` has Vite write it to dist; without that the
// directory is empty but for a mark, and the program says so in place of the page.
package ui

import "embed"

// Dist is the directory dist.
//
//go:embed all:dist
var Dist embed.FS
