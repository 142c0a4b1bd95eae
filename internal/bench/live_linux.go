package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netlyra/internal/capture"
	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

const (
	drainPatience = 5 * time.Second
	threadsShown  = 4
)

// Live sends packets into one end of a pair of interfaces, from a process of its own on the first core, while the ring reader and the
// whole pipeline, as `run --workers 1` has them, watch the other end on the other cores. Nothing is stored or served.
func Live(ctx context.Context, o LiveOptions) (r LiveResult, err error) {
	l, err := newLink(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	defer raiseSession()()
	if err := settle(); err != nil {
		return r, err
	}
	var rings []*capture.Ring
	if err := l.do(func() (err error) {
		rings, err = capture.OpenLive(capture.LiveOptions{Interfaces: []string{watchingEnd}, Workers: 1})
		return err
	}); err != nil {
		return r, err
	}
	ring := rings[0]
	d, err := newDetector(detect.Options{Seed: 1}, func(a *models.Alert) {
		if a.Rev == 1 {
			r.Alerts++
		}
	})
	if err != nil {
		return r, errors.Join(err, ring.Close())
	}
	pipe, err := pipeline.New(pipeline.Options{
		Sensor: "bench", SourceName: watchingEnd, Sources: []pipeline.Source{ring}, Workers: 1, Live: true,
		Flow: flow.Options{Seed: 1}, Detector: d, Links: ring.Links,
		Outputs: pipeline.Outputs{
			Connections: func(int64, []models.Connection, []models.Connection) {}, Hosts: func(int64, []models.Host) {}, Series: func(int64, []models.SeriesPoint) {},
			Changed: func() {},
		},
	})
	if err != nil {
		return r, errors.Join(err, ring.Close())
	}
	stopProfile, err := profile(o.CPUProfile)
	if err != nil {
		return r, errors.Join(err, ring.Close())
	}
	before, earlier := usage(), threads()
	watch, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- pipe.Run(watch) }()
	sent, err := l.send(ctx, o)
	if err == nil {
		r.Arrived, err = l.drain(ctx, ring)
	}
	stop()
	err = errors.Join(err, <-done, stopProfile())
	if err != nil {
		return r, err
	}
	r.sent(sent)
	r.fill(pipe, ring, before, earlier)
	return r, nil
}

func (r *LiveResult) sent(s SendResult) {
	r.Method, r.Sent, r.Seconds, r.SenderCPU = s.Method, s.Sent, s.Seconds, s.CPUSeconds
	r.Offered = float64(s.Sent) / s.Seconds
}

func (r *LiveResult) fill(pipe *pipeline.Pipeline, ring *capture.Ring, before syscall.Rusage, earlier map[string]float64) {
	now, got, s := usage(), ring.Stats(), pipe.Stats()
	r.Received, r.Dropped, r.Freezes = got.Received, got.Dropped, got.Freezes
	r.Decoded, r.Connections = s.Decoded, s.Connections.Opened
	r.CPUUser = time.Duration(now.Utime.Nano() - before.Utime.Nano()).Seconds()
	r.CPUSystem = time.Duration(now.Stime.Nano() - before.Stime.Nano()).Seconds()
	r.Threads = busiest(earlier, threads())
	r.Cores = (r.CPUUser + r.CPUSystem) / r.Seconds
	r.Lossless = r.Dropped == 0 && r.Received == r.Arrived && r.Decoded == r.Arrived && r.Arrived > 0
}

// send runs the sender in the link's namespace.
func (l *link) send(ctx context.Context, o LiveOptions) (r SendResult, err error) {
	args := append(o.Program[1:len(o.Program):len(o.Program)], sendingEnd, "--rate", strconv.Itoa(o.Rate), "--seconds", strconv.Itoa(int(o.Duration.Seconds())))
	c := l.command(ctx, o.Program[0], args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return r, fmt.Errorf("bench: the sender: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("bench: the sender says %q: %w", out, err)
	}
	return r, nil
}

// drain waits until the ring has delivered or dropped what the interface has received, and says how much that is.
func (l *link) drain(ctx context.Context, ring *capture.Ring) (arrived uint64, err error) {
	for deadline := time.Now().Add(drainPatience); ; time.Sleep(20 * time.Millisecond) {
		s, err := l.show(ctx, watchingEnd)
		if err != nil {
			return 0, err
		}
		if got := ring.Stats(); got.Frames+got.Dropped >= s.Stats.RX.Packets || time.Now().After(deadline) {
			return s.Stats.RX.Packets, nil
		}
	}
}

// settle keeps all threads of this process off core 0, where the sender is, if there is another, and puts them before other programs.
func settle() error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return fmt.Errorf("bench: cores of this process: %w", err)
	}
	set.Clear(0)
	return eachThread(func(tid int) error {
		goFirst(tid)
		if set.Count() == 0 {
			return nil
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) { // the thread has ended
			return fmt.Errorf("bench: keep off core 0: %w", err)
		}
		return nil
	})
}

// autogroup is where the kernel keeps the priority of this session's programs against those of other sessions (sched(7)).
const autogroup = "/proc/self/autogroup"

// raiseSession lets other sessions wait, until what it returns is called: where sessions share the time evenly, a thread's priority counts
// only within its own.
func raiseSession() (restore func()) {
	line, err := os.ReadFile(autogroup)
	if err != nil {
		return func() {} // a kernel without
	}
	_, before, _ := strings.Cut(strings.TrimSpace(string(line)), " nice ")
	_ = os.WriteFile(autogroup, []byte(strconv.Itoa(benchNice)), 0) // as goFirst, it may fail
	return func() { _ = os.WriteFile(autogroup, []byte(before), 0) }
}

// goFirst lets other programs wait for a thread and what it starts: it is not their speed that is measured. Without the privilege they share
// the time, and the figures show it.
func goFirst(tid int) { _ = unix.Setpriority(unix.PRIO_PROCESS, tid, benchNice) }

// eachThread calls f with the number of every thread of this process. Threads and processes that are started later inherit what f sets.
func eachThread(f func(tid int) error) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("bench: thread %q: %w", t.Name(), err)
		}
		if err := f(tid); err != nil {
			return err
		}
	}
	return nil
}

// threads are the CPU seconds of this process's threads, since they began, by number.
func threads() map[string]float64 {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil
	}
	all := map[string]float64{}
	for _, t := range tasks {
		line, err := os.ReadFile("/proc/self/task/" + t.Name() + "/schedstat")
		if err != nil {
			continue // it has ended
		}
		nanos, _, _ := strings.Cut(string(line), " ")
		if n, err := strconv.ParseFloat(nanos, 64); err == nil {
			all[t.Name()] = n / 1e9
		}
	}
	return all
}

// busiest are the greatest differences, in falling order.
func busiest(before, after map[string]float64) []float64 {
	var used []float64
	for tid, seconds := range after {
		used = append(used, seconds-before[tid])
	}
	slices.SortFunc(used, func(a, b float64) int { return cmp.Compare(b, a) })
	return used[:min(len(used), threadsShown)]
}

func usage() (u syscall.Rusage) {
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for this process
	return u
}
