package detect

import (
	"testing"
	"unsafe"
)

func TestAnEntitysHotFieldsAreThreeCacheLines(t *testing.T) {
	var e entity
	got := [4]uintptr{unsafe.Offsetof(e.now), unsafe.Offsetof(e.halves), unsafe.Offsetof(e.ports), unsafe.Sizeof(e)}
	if got[0] != 64 || got[1] != 128 || got[2] != 192 || got[3]%64 != 0 {
		t.Errorf("lines start at %v", got)
	}
}
