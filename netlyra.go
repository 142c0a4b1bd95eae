// Package netlyra is the root of the module. The program is in cmd/netlyra, its parts are below internal/; this file gives the program the
// pages of docs/ that it shows, and the tests of the whole tree, layers_test.go, a package to belong to.
package netlyra

import _ "embed"

// FilterSyntax is docs/filter.md: the syntax of --filter, in Markdown.
//
//go:embed docs/filter.md
var FilterSyntax string
