package models

import (
	"testing"
	"unsafe"
)

// A slot's record is written by one processor and read by another: what the second packet adds to lies in as few cache lines as it can.
func TestAConnSlotIsThreeCacheLines(t *testing.T) {
	var s ConnSlot
	if size, when, much := unsafe.Sizeof(s), unsafe.Offsetof(s.ConnID), unsafe.Offsetof(s.Up); size != 192 || when != 64 || much != 128 {
		t.Errorf("%d bytes; lines start at %d and %d, want 192, 64, 128", size, when, much)
	}
}
