// Package netlyra is the root of the module. The program is in cmd/netlyra, its parts are below internal/; this file
// only gives the tests of the whole tree, layers_test.go, a package to belong to.
package netlyra
