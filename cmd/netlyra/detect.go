package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"netlyra/internal/config"
	"netlyra/internal/detect"
	"netlyra/internal/role"
	"netlyra/internal/telemetry"
)

// detect is a worker of the detectors that sensors elsewhere share, until ctx ends.
func (p *program) detect(ctx context.Context, c *config.Detect, log *slog.Logger) (err error) {
	b, err := newBroker(&c.Broker, "netlyra-detect", log, func(text string) { logWarning(log, text) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	o := detect.Options{Seed: analysisSeed, BudgetDay: c.AlertBudget}
	if c.Profile == config.ProfileCore {
		o.Without = detect.NotInCore
	}
	worker, err := role.NewWorker(role.WorkerOptions{
		Group: c.Group, Version: version(), Boot: random64(), Remote: role.RemoteOptions{Detect: o, Every: c.CheckpointEvery, Sensors: c.MaxSensors},
	}, role.WorkerDeps{Broker: b, Log: log})
	if err != nil {
		return err
	}
	last := []role.Part{b}
	if c.MetricsListen != config.MetricsOff {
		registry := telemetry.Registry()
		if err := registry.Register(worker); err != nil {
			return err
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.MetricsListen)
		if err != nil {
			return &config.UsageError{Err: fmt.Errorf("--metrics-listen %s: %w", c.MetricsListen, err)}
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
		last = append(last, metricsServer(listener, mux))
	}
	log.LogAttrs(ctx, slog.LevelInfo, "detecting", slog.String("group", c.Group))
	err = role.Run(ctx, b, []role.Part{worker}, nil, last)
	log.LogAttrs(ctx, slog.LevelInfo, "stopped", slog.Uint64("slots", worker.Counts().Slots))
	return err
}

const metricsTimeout = 10 * time.Second // for a request, and for those that are under way at the end

// metricsServer serves h until its context ends.
func metricsServer(listener net.Listener, h http.Handler) role.Part {
	return role.PartFunc(func(ctx context.Context) error {
		server := &http.Server{Handler: h, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout}
		defer context.AfterFunc(ctx, func() { _ = server.Close() })()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("--metrics-listen: %w", err)
		}
		return nil
	})
}
