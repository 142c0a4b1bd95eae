// Package telemetry sets up what the program says about itself: structured logs and a Prometheus registry. Both are passed
// to who needs them; nothing here is global.
package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Logger writes lines of at least level ("debug", "info", "warn", "error") to w as format ("text" or "json").
func Logger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: debug, info, warn and error exist", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log format %q: text and json exist", format)
}

// LostLine is the line of a log in format that says how many lines before it were lost.
func LostLine(format string, lines uint64) []byte {
	var b bytes.Buffer
	log, err := Logger(&b, "warn", format)
	if err != nil {
		return fmt.Appendf(nil, "log lines lost: %d\n", lines)
	}
	log.LogAttrs(context.Background(), slog.LevelWarn, "log lines lost", slog.Uint64("lines", lines))
	return b.Bytes()
}

// Registry is a Prometheus registry with what the Go runtime and the process say of themselves.
func Registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
