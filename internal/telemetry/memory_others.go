//go:build !linux

package telemetry

// ResidentBytes is what the Go runtime has from the system.
func ResidentBytes() uint64 { return runtimeBytes() }
