package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"netlyra/internal/config"
	"netlyra/internal/role"
	"netlyra/internal/store"
	"netlyra/internal/telemetry"
)

// serve keeps and serves what sensors elsewhere publish, until ctx ends.
func (p *program) serve(ctx context.Context, c *config.Serve, log *slog.Logger, out *telemetry.Detached) (err error) {
	w := newServed(ctx, &c.Serving, c.Console, log, out)
	if err := w.changeUser(w.ownDirs()); err != nil {
		return err
	}
	if err := w.checkServed(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	o := w.storeOptions()
	o.Fleet = true
	if w.store, err = store.New(ctx, o); err != nil {
		return err
	}
	if err := w.openBroker(); err != nil {
		return err
	}
	changed := role.NewSignal()
	fleet, err := role.NewFleet(ctx, role.FleetDeps{Store: w.store, Bus: w.broker, Changed: changed, Log: log})
	if err != nil {
		return err
	}
	served, err := w.apiOptions()
	if err != nil {
		return err
	}
	console, err := role.NewConsole(ctx, role.ConsoleOptions{API: served, Group: "netlyra-" + c.Console + "-", Wait: true}, role.ConsoleDeps{
		Store: w.store, Decided: w.decided, Bus: w.broker, Fleet: fleet, Changed: changed, Drops: w.drops, Health: w.health, Ending: w.end, Log: log,
	})
	if err != nil {
		return err
	}
	write, read := w.ownPaths()
	if err := w.enterSandbox(ctx, false, write, read); err != nil {
		return errors.Join(err, console.Close())
	}
	log.LogAttrs(ctx, slog.LevelInfo, "serving a fleet", slog.String("console", c.Console), slog.String("page", console.URL()))
	returnMemory := role.PartFunc(func(ctx context.Context) error {
		telemetry.ReturnMemory(ctx, time.Minute)
		return nil
	})
	err = role.Run(ctx, w.broker, []role.Part{role.PartFunc(role.UntilAsked)}, console.Readers(), append(console.Servers(), w.broker, fleet, returnMemory))
	log.LogAttrs(ctx, slog.LevelInfo, "stopped")
	return err
}
