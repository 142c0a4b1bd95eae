//go:build !linux

package bench

import (
	"context"
	"errors"
)

var errLinux = errors.New("bench: the live benchmarks need Linux: its network namespaces and packet sockets")

// Live needs Linux.
func Live(context.Context, LiveOptions) (LiveResult, error) { return LiveResult{}, errLinux }

// Send needs Linux.
func Send(context.Context, SendOptions) (SendResult, error) { return SendResult{}, errLinux }

// Latency needs Linux.
func Latency(context.Context, LatencyOptions) (LatencyResult, error) {
	return LatencyResult{}, errLinux
}
