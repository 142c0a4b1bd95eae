package flow

import (
	"testing"
	"unsafe"
)

func TestAnEntryIsThreeCacheLines(t *testing.T) {
	var c entry
	if size, second, third := unsafe.Sizeof(c), unsafe.Offsetof(c.payload), unsafe.Offsetof(c.id); size != 192 || second != 64 || third != 128 {
		t.Errorf("an entry is %d bytes, its second line starts at %d, its third at %d; want 192, 64, 128", size, second, third)
	}
}
