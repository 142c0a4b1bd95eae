package main

import (
	"context"
	"io"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
)

func TestZZProf(t *testing.T) {
	f, _ := os.Create("/tmp/prof/cpu.out")
	_ = pprof.StartCPUProfile(f)
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	p.run(context.Background(), []string{"analyze", "--workers", "1", "/tmp/imix.pcap"})
	pprof.StopCPUProfile()
	f.Close()
}
