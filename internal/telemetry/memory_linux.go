package telemetry

import (
	"bytes"
	"os"
	"strconv"
)

// ResidentBytes is the memory that the process holds, with the database's caches and the kernel's rings (VmRSS, proc(5)); where that
// cannot be read, what the Go runtime has from the system.
func ResidentBytes() uint64 {
	raw, err := os.ReadFile("/proc/self/statm") // size resident shared ..., in pages
	if err != nil {
		return runtimeBytes()
	}
	fields := bytes.Fields(raw)
	if len(fields) < 2 {
		return runtimeBytes()
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return runtimeBytes()
	}
	return pages * uint64(os.Getpagesize())
}
