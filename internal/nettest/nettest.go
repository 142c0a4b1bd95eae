// Package nettest gives tests network namespaces of their own, with interfaces in them that carry the test's traffic and
// nobody else's, and finds the captures that lie beside the project. It is imported by tests only.
package nettest

import (
	"os"
	"testing"
)

// Unavailable ends a test that cannot run here: as skipped, with the remedy, or as failed where CI=true says that
// everything must run.
func Unavailable(t testing.TB, remedy string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(remedy)
	}
	t.Skip(remedy)
}
