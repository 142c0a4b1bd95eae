package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"netlyra/internal/bus"
	"netlyra/internal/capture"
	"netlyra/internal/config"
	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
	"netlyra/internal/role"
	"netlyra/internal/state"
)

// analysisSeed seeds hash and trees: the same capture gives the same alerts.
const analysisSeed = 1

// analyze reads captures to their end and prints each incident once, in its final state, or with --emit the records of what was read.
func (p *program) analyze(ctx context.Context, c *config.Analyze, log *slog.Logger) (err error) {
	started := time.Now()
	var out *os.File // opened before hours of reading: what cannot be written is known at once
	if c.Summary != "" {
		if out, err = os.OpenFile(c.Summary, os.O_WRONLY|os.O_CREATE, 0o644); err != nil {
			return &config.UsageError{Err: fmt.Errorf("--summary: %w", err)}
		}
		defer func() { err = errors.Join(err, out.Close()) }()
	}
	src, err := capture.NewSequence(c.Files, totalSize(c.Files), capture.FileOptions{Stdin: p.stdin})
	if err != nil {
		return err
	}
	filter, err := newPacketFilter(&c.Detection)
	if err != nil {
		return err
	}
	filtered, err := filter.apply(src)
	if err != nil {
		return err
	}
	var kept *role.Learned
	if c.State != "" && c.Detector != config.DetectorOff {
		if kept, err = role.OpenLearned(statePath(c.State, c.Sensor), log); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, kept.Close()) }()
	}
	span := &timeSpan{}
	found := &findings{final: map[string]models.Alert{}, talkers: talkers{bytes: map[string]*models.Host{}}}
	found.hosts = c.Top > 0 && (!c.Quiet || c.Summary != "")
	reading, stop := context.WithCancel(ctx)
	defer stop()
	emit, emitted, err := p.emitter(c, stop)
	if err != nil {
		return err
	}
	run, sensor, err := found.roles(c, kept, span.watch(filtered), src.FileTime, emitted)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	bar := p.progress(c, src, done)
	runErr := run(reading)
	close(done)
	<-bar

	alerts := inOrder(found.final)
	if emit != nil {
		runErr = errors.Join(runErr, emit.finish())
	} else if err := printAlerts(p.stdout, c.Format, alerts); err != nil {
		return err
	}
	s := summarise(sensor.Stats(), src.Results(), len(alerts), span, time.Since(started))
	s.Talkers, s.TalkersPart = found.top(c.Top), found.full || s.Dropped["export.hosts_at_once"] > 0
	anyRead := slices.ContainsFunc(src.Results(), func(f capture.FileResult) bool { return f.Err == nil })
	if !c.Quiet && anyRead { // the error says all that there is to say of the others
		s.print(p.stderr)
	}
	if out != nil {
		if err := s.write(out); err != nil {
			return errors.Join(runErr, err)
		}
	}
	if kept != nil {
		runErr = errors.Join(runErr, kept.Problem())
	}
	if runErr == nil && ctx.Err() != nil {
		runErr = fmt.Errorf("interrupted after %d packets: the results are of what was read", s.Packets)
	}
	return errors.Join(runErr, damages(src.Results()))
}

// leftOut are the parts of the detector that --profile leaves out.
func leftOut(c *config.Detection) detect.Part {
	if c.Profile == config.ProfileCore {
		return detect.NotInCore
	}
	return 0
}

// findings are what a sensor and a detector say of captures.
type findings struct {
	final map[string]models.Alert // by id, in their last revision
	hosts bool                    // what addresses have sent and received is added up
	talkers
}

// roles makes a sensor and a detector, and what runs them to the end of the captures.
func (f *findings) roles(c *config.Analyze, kept *role.Learned, src pipeline.Source, fileTime func(int64) int64, emitted pipeline.Records) (run func(context.Context) error, s *role.Sensor, err error) {
	b := bus.NewMemory(bus.MemoryOptions{})
	producer, err := b.Producer()
	if err != nil {
		return nil, nil, err
	}
	topics := []bus.Topic{bus.TopicAlerts}
	if f.hosts {
		topics = append(topics, bus.TopicHosts)
	}
	consumer, err := b.Consumer("analyze", topics...)
	if err != nil {
		return nil, nil, err
	}
	var first []role.Part
	var judge pipeline.Detector
	if c.Detector != config.DetectorOff {
		deps := role.DetectorDeps{Alerts: role.AlertsTo(producer), FileTime: fileTime}
		if kept != nil {
			deps.Memory = kept
		}
		d, err := role.NewDetector(role.DetectorOptions{Sensor: c.Sensor, Detect: detect.Options{Seed: analysisSeed, BudgetDay: c.AlertBudget, Without: leftOut(&c.Detection)}}, deps)
		if err != nil {
			return nil, nil, err
		}
		judge, first = d, append(first, d)
	}
	s, err = role.NewSensor(role.SensorOptions{
		Name: c.Sensor, Workers: c.Workers, File: true, Flow: flow.Options{MaxConnections: c.MaxConnections, Seed: analysisSeed},
	}, role.SensorDeps{Sources: []pipeline.Source{src}, Detector: judge, Bus: producer, Topics: topics, Records: emitted, FileTime: fileTime})
	if err != nil {
		return nil, nil, err
	}
	reader := role.PartFunc(func(ctx context.Context) error { return f.read(ctx, consumer) })
	return func(ctx context.Context) error { return role.Run(ctx, b, append(first, s), []role.Part{reader}, nil) }, s, nil
}

// read takes what there is until the bus is closed and empty.
func (f *findings) read(ctx context.Context, consumer bus.Consumer) error {
	for {
		records, err := consumer.Poll(ctx)
		for i := range records {
			switch v := records[i].Value.(type) {
			case bus.Alert:
				f.final[v.ID] = *v.Alert
			case bus.Hosts:
				f.add(v.Hosts)
			}
		}
		if err == nil {
			err = consumer.Commit(ctx)
		}
		if errors.Is(err, bus.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// statePath is where analyze keeps the state of a sensor: a file, or in a directory the sensor's.
func statePath(path, sensor string) string {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() || os.IsPathSeparator(path[len(path)-1]) {
		return state.Path(path, sensor)
	}
	return path
}

func totalSize(files []string) (total int64) {
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || !info.Mode().IsRegular() {
			return 0
		}
		total += info.Size()
	}
	return total
}

func inOrder(final map[string]models.Alert) []models.Alert {
	alerts := make([]models.Alert, 0, len(final))
	for _, a := range final {
		alerts = append(alerts, a)
	}
	slices.SortFunc(alerts, func(a, b models.Alert) int { return cmp.Or(cmp.Compare(a.TS, b.TS), cmp.Compare(a.ID, b.ID)) })
	return alerts
}

func printAlerts(w io.Writer, format string, alerts []models.Alert) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	for i := range alerts {
		a := &alerts[i]
		if format == "jsonl" {
			if err := enc.Encode(a); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			_ = out.WriteByte('\n') // Flush reports it
		}
		if err := writeAlert(out, a); err != nil {
			return err
		}
	}
	return out.Flush()
}

// progress draws a bar on a terminal until done is closed; the channel it returns is closed when it has left the line.
func (p *program) progress(c *config.Analyze, src *capture.Sequence, done <-chan struct{}) <-chan struct{} {
	left := make(chan struct{})
	recordsThere := c.Emit != config.EmitAlerts && isTerminal(p.stdout) // on the lines of the bar
	if c.Quiet || !isTerminal(p.stderr) || recordsThere {
		close(left)
		return left
	}
	_, total := src.Progress()
	if total == 0 {
		total = -1 // a spinner
	}
	bar := progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.stderr), progressbar.OptionShowBytes(true),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetDescription("analysing"), progressbar.OptionFullWidth())
	_ = bar.RenderBlank() // its clock starts: the first speed shown is one of a tenth of a second, not of nothing
	go func() {
		defer close(left)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				read, _ := src.Progress()
				_ = bar.Set64(read) // only a picture
			case <-done:
				_ = bar.Finish()
				return
			}
		}
	}()
	return left
}

// damages joins what is damaged or could not be read. A file that could not be read at all weighs more than damage: exit status 1.
func damages(files []capture.FileResult) error {
	var damaged, unread []error
	for _, f := range files {
		if f.Damage != nil {
			damaged = append(damaged, f.Damage)
		}
		if f.Err != nil {
			unread = append(unread, f.Err)
		}
	}
	if len(unread) == 0 {
		return errors.Join(damaged...)
	}
	for _, d := range damaged {
		unread = append(unread, errors.New(d.Error()))
	}
	return errors.Join(unread...)
}

// summary is the JSON of --summary.
type summary struct {
	Files          []fileSummary     `json:"files"`
	Packets        uint64            `json:"packets"`
	Bytes          uint64            `json:"bytes"`
	Connections    uint64            `json:"connections"`
	Alerts         int               `json:"alerts"`
	Malformed      map[string]uint64 `json:"malformed"`
	Dropped        map[string]uint64 `json:"dropped"`
	ClockJumps     uint64            `json:"clock_jumps"`   // times went back by more than 10 s
	TimeOutliers   uint64            `json:"time_outliers"` // packets with a time far from that of their neighbours, which they were given
	CaptureSeconds float64           `json:"capture_seconds"`
	WallSeconds    float64           `json:"wall_seconds"`
	// Talkers are the addresses with most bytes; TalkersPart: too many addresses at once to add up all.
	Talkers     []talker                 `json:"talkers"`
	TalkersPart bool                     `json:"talkers_part"`
	ByProto     map[string]models.Volume `json:"by_proto"`
}

type fileSummary struct {
	Path    string         `json:"path"`
	Packets uint64         `json:"packets"`
	Bytes   uint64         `json:"bytes"`
	Damaged *damageSummary `json:"damaged"`
	Error   string         `json:"error,omitempty"` // why it could not be read at all
	// Trailing: bytes follow the end of the compressed data. They were not read.
	Trailing bool `json:"trailing"`
}

type damageSummary struct {
	Offset int64  `json:"offset"`
	Reason string `json:"reason"`
}

func summarise(st models.Stats, files []capture.FileResult, alerts int, span *timeSpan, wall time.Duration) *summary {
	s := &summary{
		Files: []fileSummary{}, Packets: st.Packets, Bytes: st.Bytes, Connections: st.Connections.Opened, Alerts: alerts,
		Malformed: st.Malformed, Dropped: map[string]uint64{}, ClockJumps: st.ClockJumps, TimeOutliers: st.TimeOutliers,
		CaptureSeconds: span.seconds(), WallSeconds: wall.Seconds(), ByProto: st.ByProto, Talkers: []talker{},
	}
	for _, f := range files {
		one := fileSummary{Path: f.Path, Packets: f.Packets, Bytes: f.Bytes, Trailing: f.Trailing}
		if f.Damage != nil {
			one.Damaged = &damageSummary{f.Damage.Offset, f.Damage.Reason}
		}
		if f.Err != nil {
			one.Error = f.Err.Error()
		}
		s.Files = append(s.Files, one)
	}
	for _, d := range st.Drops {
		if d.Count > 0 {
			s.Dropped[d.Stage+"."+d.Reason] = d.Count
		}
	}
	return s
}

func (s *summary) print(w io.Writer) {
	malformed := uint64(0)
	for _, n := range s.Malformed {
		malformed += n
	}
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) } // standard error: nobody to tell
	traffic := "no packets"
	if s.Packets > 0 {
		traffic = fmt.Sprintf("%s, %s, %s in %s of traffic", counted(s.Packets, "packet", "packets"), humanize.Bytes(s.Bytes),
			counted(s.Connections, "connection", "connections"), lengthOfTime(seconds(s.CaptureSeconds)))
	}
	line("%s: alerts: %d, malformed packets: %d; read in %s", traffic, s.Alerts, malformed, lengthOfTime(seconds(s.WallSeconds)))
	if s.Packets > 0 {
		line("protocols: %s", protocols(s.ByProto))
	}
	for i, t := range s.Talkers {
		label := "most traffic:"
		if i > 0 {
			label = ""
		}
		line("%-13s %-39s sent %9s, received %9s", label, t.IP, humanize.Bytes(t.BytesSent), humanize.Bytes(t.BytesReceived))
	}
	if s.TalkersPart {
		line("there were too many addresses at once to add up all of them: the list is of a part")
	}
	for _, f := range s.Files {
		if f.Trailing {
			line("%s: bytes behind the end of the compressed data were not read", plain(f.Path))
		}
	}
	if s.TimeOutliers > 0 {
		line("%s a time far from that of the packets around: the time of these was taken", counted(s.TimeOutliers, "packet has", "packets have"))
	}
	if s.ClockJumps > 0 {
		times := "once"
		if s.ClockJumps > 1 {
			times = counted(s.ClockJumps, "", "times")
		}
		line("the times of the capture go back %s by more than 10 s: the analysis took this for a clock that was set back, and went on", times)
	}
}

// write replaces what is in the file.
func (s *summary) write(out *os.File) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := out.Truncate(0); err != nil && !errors.Is(err, syscall.EINVAL) { // a pipe has nothing to cut off
		return fmt.Errorf("--summary: %w", err)
	}
	if _, err := out.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("--summary: %w", err)
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// timeSpan notes the first and last capture time that come through a source.
type timeSpan struct {
	pipeline.Source
	first, last int64
}

func (t *timeSpan) watch(src pipeline.Source) pipeline.Source {
	t.Source = src
	return t
}

// Read passes the batch on.
func (t *timeSpan) Read(b *models.Batch) error {
	err := t.Source.Read(b)
	for i := range b.Frames {
		ts := b.Frames[i].TS
		if t.first == 0 || ts < t.first {
			t.first = ts
		}
		t.last = max(t.last, ts)
	}
	return err
}

func (t *timeSpan) seconds() float64 { return float64(t.last-t.first) / 1e6 }
