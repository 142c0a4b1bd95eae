//go:build !linux

package dir

func probe(path string) error { return probeNamed(path) }
