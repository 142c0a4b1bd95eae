package traffic

import (
	"errors"
	"io"
	"testing"
	"time"

	"netlyra/internal/models"
)

func BenchmarkStream(b *testing.B) {
	s, err := New(Options{Seed: 1, Duration: 10000 * time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var batch models.Batch
	var bytes int64
	n := 0
	for b.Loop() {
		if n == 0 {
			if err := s.Read(&batch); errors.Is(err, io.EOF) {
				b.Fatal("the stream ended")
			}
			n = len(batch.Frames)
			for _, f := range batch.Frames {
				bytes += int64(len(f.Data))
			}
		}
		n--
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "B/packet")
}
