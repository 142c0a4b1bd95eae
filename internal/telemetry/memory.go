package telemetry

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// GarbagePercent is how much may be allocated between two collections, in percent of what is in use (GOGC). Most of what is in use
// are tables of fixed size without pointers: they cost a collection nothing, but at the runtime's 100 percent they let garbage grow
// to as much again. With 15 a collection of 15 ms of one core comes every 20 MiB.
const GarbagePercent = 15

// PaceCollections sets the runtime's pace of collections: GarbagePercent, and never more than limit bytes as far as collecting can
// hold that. What the variables GOGC and GOMEMLIMIT of the environment (lookup: os.LookupEnv) say stands.
func PaceCollections(limit int64, lookup func(string) (string, bool)) {
	if _, set := lookup("GOGC"); !set {
		debug.SetGCPercent(GarbagePercent)
	}
	if _, set := lookup("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(limit)
	}
}

// ReturnMemory gives memory that is not in use back to the system, as often as said, until ctx ends. The runtime keeps a tenth of what it takes
// for in use, and garbage of the past beside it; it takes pages of tables for in use that nothing has touched.
func ReturnMemory(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			debug.FreeOSMemory()
		case <-ctx.Done():
			return
		}
	}
}

// runtimeBytes is the memory that the Go runtime has from the system.
func runtimeBytes() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
