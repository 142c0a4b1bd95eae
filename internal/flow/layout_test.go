package flow

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

func TestAnEntryIsThreeCacheLines(t *testing.T) {
	var c entry
	if size, second, third := unsafe.Sizeof(c), unsafe.Offsetof(c.payload), unsafe.Offsetof(c.id); size != 192 || second != 64 || third != 128 {
		t.Errorf("an entry is %d bytes, its second line starts at %d, its third at %d; want 192, 64, 128", size, second, third)
	}
}

// describe must leave nothing of the slot that was there before.
func TestDescribeWritesEveryField(t *testing.T) {
	var c entry
	var fresh, used models.ConnSlot
	for i, b := 0, unsafe.Slice((*byte)(unsafe.Pointer(&used)), unsafe.Sizeof(used)); i < len(b); i++ {
		b[i] = 1
	}
	c.describe(&fresh)
	c.describe(&used)
	if d := cmp.Diff(fresh, used); d != "" {
		t.Errorf("fresh and used differ (-fresh +used)\n%s", d)
	}
}
