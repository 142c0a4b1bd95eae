package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// sameSignal is how long a further signal counts as the same one: timeout(1) and shells signal a process and its group at once.
const sameSignal = time.Second

// untilSignal ends the returned context at the first SIGINT, SIGTERM or SIGHUP, which asks for an orderly end. A further one within a
// second is the same signal; after that the defaults are back, so that the next one ends the program at once.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	ending := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup has it ignored
		ending = append(ending, syscall.SIGHUP)
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, ending...)
	go func() {
		select {
		case <-c:
		case <-ctx.Done():
		}
		cancel()
		time.Sleep(sameSignal)
		signal.Reset(ending...)
	}()
	return ctx, cancel
}
