package telemetry

import (
	"context"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"
)

func TestPaceCollections(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	for _, tc := range []struct {
		name    string
		env     map[string]string
		percent int
		limit   int64
	}{
		{"nothing said", nil, GarbagePercent, 1 << 40},
		{"GOGC said", map[string]string{"GOGC": "100"}, 100, 1 << 40},
		{"GOMEMLIMIT said", map[string]string{"GOMEMLIMIT": "1TiB"}, GarbagePercent, limit},
	} {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(limit)
		PaceCollections(1<<40, func(name string) (string, bool) {
			v, ok := tc.env[name]
			return v, ok
		})
		gotPercent := debug.SetGCPercent(100)
		if gotLimit := debug.SetMemoryLimit(-1); gotPercent != tc.percent || gotLimit != tc.limit {
			t.Errorf("%s: %d %%, limit %d; want %d %%, %d", tc.name, gotPercent, gotLimit, tc.percent, tc.limit)
		}
	}
}

func TestReturnMemory(t *testing.T) {
	kept := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapIdle - m.HeapReleased // not in use, and not the system's
	}
	percent := debug.SetGCPercent(-1) // the runtime's own scavenger follows its collections
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	func() {
		garbage := make([]byte, 64<<20)
		for i := range garbage {
			garbage[i] = 1
		}
		runtime.KeepAlive(garbage)
	}()
	runtime.GC()
	if kept() < 48<<20 {
		t.Fatalf("only %d bytes are kept before: this shows nothing", kept())
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ReturnMemory(ctx, time.Millisecond)
	}()
	for deadline := time.Now().Add(time.Minute); kept() > 16<<20; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are kept", kept())
		}
	}
	stop()
	<-done
}

// The kernel's own word is the oracle: memory that was touched counts, whoever has it from the system.
func TestResidentBytes(t *testing.T) {
	status := func() uint64 {
		raw, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Skip("no /proc: what the runtime has is told")
		}
		kB, err := strconv.ParseUint(string(regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(raw)[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kB << 10
	}
	before := ResidentBytes()
	touched := make([]byte, 64<<20)
	for i := range touched {
		touched[i] = 1
	}
	got, want := ResidentBytes(), status()
	runtime.KeepAlive(touched)
	if difference := int64(got) - int64(want); max(difference, -difference) > 8<<20 {
		t.Errorf("%d bytes, by the kernel's status %d", got, want)
	}
	if got < before+32<<20 {
		t.Errorf("%d bytes before 64 MiB were touched, %d afterwards", before, got)
	}
}
