package role

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"netlyra/internal/bus"
	"netlyra/internal/detect"
	"netlyra/internal/models"
	"netlyra/internal/telemetry"
)

// Entry is a record of TopicSlots, and where it stands in its partition.
type Entry struct {
	Sensor string // the record's key
	Offset int64  // rises from entry to entry
	Record []byte // in the form of docs/wire-format.md
}

// Checkpoints keeps the last checkpoint of each sensor.
type Checkpoints interface {
	// Save returns when a checkpoint is kept. It does not keep b itself.
	// It is ErrCheckpoint where this one will never be kept; the one before it is.
	Save(ctx context.Context, sensor string, b []byte) error
	// Forget takes a sensor's checkpoint out.
	Forget(ctx context.Context, sensor string) error
}

// ErrCheckpoint is the error of a checkpoint that is more than what keeps it takes.
var ErrCheckpoint = errors.New("a checkpoint that is not taken")

// AlertSink takes new revisions of incidents.
type AlertSink interface {
	// Send takes alerts, in order. It may return before they are kept, and keeps neither the slice nor the alerts in it.
	Send(ctx context.Context, alerts []models.Alert) error
	// Flush returns when all that were sent are kept.
	Flush(ctx context.Context) error
}

// RemoteOptions configure a RemoteDetector.
type RemoteOptions struct {
	Detect  detect.Options // of every sensor; Sensor is each one's own
	Every   int            // slots of a sensor between two checkpoints; 0 means 7,500: five minutes
	Sensors int            // that are followed at most; 0 means 256. Each has a detector of its own
}

// RemoteDeps are what a RemoteDetector needs.
type RemoteDeps struct {
	Checkpoints Checkpoints
	Alerts      AlertSink
	Rejected    func(ctx context.Context, e Entry, reason error) error // takes what cannot be read; nil: nobody does
	Log         *slog.Logger
}

// RemoteCounts are what a RemoteDetector has done, and what it has left, in records unless another unit is given.
type RemoteCounts struct {
	Slots       uint64 // judged, in slots
	Checkpoints uint64 // written, in checkpoints
	Restarts    uint64 // of sensors, in starts
	Missing     uint64 // lacking in the numbers of a sensor's records
	Cut         uint64 // of slots that lack others
	Repeated    uint64 // that had been judged before
	Damaged     uint64 // malformed, or of another sensor than their key says
	Newer       uint64 // of a later version of the format
	Second      uint64 // of an earlier start of the sensor than the one that is followed: there are two of one name
	Refused     uint64 // of more sensors than are followed
	Forgotten   uint64 // silent for long when another needed the room, in sensors
}

// RemoteDetector turns the slots of all sensors of a partition into alerts. It goes on from their last checkpoints: what is judged
// a second time gives the same alerts, with the same ids and revisions. Alerts are kept before the checkpoint after them is, so none is lost.
// A checkpoint that is older than the last, as one may be that was written by a detector that had lost the partition, does no harm.
// It knows no clock: whatever it does follows from the records. It reads nothing by itself: Begin, then Take for each record of the partition, then
// End. After an error of one of them it is of no use: another, made anew, goes on from the checkpoints that there are. It is not for several
// goroutines at once.
type RemoteDetector struct {
	options RemoteOptions
	deps    RemoteDeps
	decoder *bus.SlotDecoder
	record  bus.SlotRecord
	codec   *takeoverCodec
	streams map[string]*stream
	at      int64 // offset of the record behind the last one read
	failed  error // of Take: a slot may have been judged whose alerts are not kept
	counts  counters
	lines   struct{ unusable, started, missing, second, unread, refused, forgotten, unkept *telemetry.Limiter }
}

// counters are RemoteCounts that any goroutine may read.
type counters struct {
	slots, checkpoints, restarts, missing, cut, repeated, damaged, newer, second, refused, forgotten atomic.Uint64
}

const (
	checkpointSlots = 7500
	maxStreams      = 256
	silentRecords   = 6 * 3600 * 25 // that one sensor gives in the six hours for which slots are kept
	refreshFactor   = 64            // checkpoints' distance in records after which that of a silent sensor is written anew: a successor begins at the oldest
)

// NewRemoteDetector makes a detector of a partition. The error is one of the options.
func NewRemoteDetector(o RemoteOptions, deps RemoteDeps) (*RemoteDetector, error) {
	o.Every, o.Sensors = cmp.Or(o.Every, checkpointSlots), cmp.Or(o.Sensors, maxStreams)
	if o.Every < 0 || o.Sensors < 0 {
		return nil, fmt.Errorf("detector: a checkpoint every %d slots of %d sensors: must be positive", o.Every, o.Sensors)
	}
	if _, err := detect.NewJudge(o.Detect); err != nil {
		return nil, fmt.Errorf("detector: %w", err)
	}
	decoder, err := bus.NewSlotDecoder()
	if err != nil {
		return nil, fmt.Errorf("detector: %w", err)
	}
	codec, err := newTakeoverCodec()
	if err != nil {
		return nil, fmt.Errorf("detector: %w", err)
	}
	d := &RemoteDetector{options: o, deps: deps, decoder: decoder, codec: codec, streams: map[string]*stream{}}
	for _, l := range [...]**telemetry.Limiter{&d.lines.unusable, &d.lines.started, &d.lines.missing, &d.lines.second, &d.lines.unread, &d.lines.refused, &d.lines.forgotten, &d.lines.unkept} {
		*l = telemetry.NewLimiter(time.Minute)
	}
	return d, nil
}

// Counts is what the detector has done. It may be called from any goroutine.
func (d *RemoteDetector) Counts() RemoteCounts {
	c := &d.counts
	return RemoteCounts{
		Slots: c.slots.Load(), Checkpoints: c.checkpoints.Load(), Restarts: c.restarts.Load(), Missing: c.missing.Load(), Cut: c.cut.Load(),
		Repeated: c.repeated.Load(), Damaged: c.damaged.Load(), Newer: c.newer.Load(), Second: c.second.Load(), Refused: c.refused.Load(),
		Forgotten: c.forgotten.Load(),
	}
}

// States is how far the detector of each sensor has learned, and what it has done, as of the last slot that was taken.
func (d *RemoteDetector) States() map[string]models.DetectorStats {
	all := make(map[string]models.DetectorStats, len(d.streams))
	for sensor, s := range d.streams {
		all[sensor] = *s.detector.public.Load()
	}
	return all
}

// Begin takes the sensors of the partition over from their last checkpoints, given by sensor. It returns the offset of the first record to be taken;
// where that is not kept any more, or was never there, the oldest record is. A checkpoint that cannot be used is reported, and its sensor learned anew; an
// empty one is none. Of more sensors than are followed, those are that were heard last.
func (d *RemoteDetector) Begin(ctx context.Context, latest map[string][]byte) (from int64, err error) {
	from = math.MaxInt64
	for _, sensor := range slices.Sorted(maps.Keys(latest)) {
		if len(latest[sensor]) == 0 {
			continue
		}
		s, err := d.stream(sensor)
		if err != nil {
			return 0, fmt.Errorf("detector: %w", err)
		}
		d.streams[sensor] = s
		if err := s.restore(d.codec, latest[sensor]); err != nil {
			d.lines.unusable.Log(ctx, d.deps.Log, slog.LevelError, "a checkpoint cannot be used, the sensor is learned anew", slog.String("sensor", sensor), slog.Any("error", err))
		}
		if len(d.streams) > d.options.Sensors {
			delete(d.streams, d.longestSilent())
		}
	}
	for _, s := range d.streams {
		from = min(from, s.saved)
	}
	if len(d.streams) == 0 {
		from = 0
	}
	d.at = from
	return from, nil
}

// End writes what has been judged since the last checkpoints, so that a successor has little to judge again. After an error of Take it writes nothing, and
// returns that: a checkpoint might be behind alerts that are not kept.
func (d *RemoteDetector) End(ctx context.Context) error {
	if d.failed != nil {
		return fmt.Errorf("detector: no checkpoint is written after an error: %w", d.failed)
	}
	for _, sensor := range slices.Sorted(maps.Keys(d.streams)) {
		if s := d.streams[sensor]; s.slots > 0 {
			if err := d.save(ctx, s); err != nil {
				return fmt.Errorf("detector: %w", err)
			}
		}
	}
	return nil
}

// Take takes the next record. It returns when the alerts of the slot that it completes are sent.
func (d *RemoteDetector) Take(ctx context.Context, e Entry) error {
	if d.failed == nil {
		d.failed = d.take(ctx, &e)
	}
	if d.failed != nil {
		return fmt.Errorf("detector: %w", d.failed)
	}
	return nil
}

func (d *RemoteDetector) take(ctx context.Context, e *Entry) error {
	if e.Offset < d.at { // the topic has been made anew
		for _, s := range d.streams {
			s.place.next, s.place.heard, s.saved = 0, 0, 0
			s.done.next, s.done.heard = 0, 0
		}
	}
	d.at = e.Offset + 1
	s := d.streams[e.Sensor]
	if s != nil && e.Offset < s.done.next {
		return nil // judged before this checkpoint, and read for the sake of another sensor
	}
	err := d.decoder.Decode(e.Record, &d.record)
	if err == nil && d.record.Sensor != e.Sensor {
		err = fmt.Errorf("%w: a record of sensor %.64q under the key of another", bus.ErrMalformed, d.record.Sensor)
	}
	if err != nil {
		return d.reject(ctx, e, err)
	}
	if s == nil {
		if s, err = d.follow(ctx, e); s == nil || err != nil {
			return err
		}
	}
	s.place.heard = e.Offset
	slot := s.read(ctx)
	if slot == nil {
		return nil
	}
	if err := s.detector.Slot(ctx, slot); err != nil {
		return err
	}
	d.counts.slots.Add(1)
	s.place.next, s.place.last = d.at, slot.N
	s.done = s.place
	if s.slots++; s.slots < d.options.Every {
		return nil
	}
	if err := d.save(ctx, s); err != nil {
		return err
	}
	return d.refresh(ctx)
}

// follow begins to follow a sensor. Where there are too many, it takes the place of one that has been silent for long; nil: there is none.
func (d *RemoteDetector) follow(ctx context.Context, e *Entry) (*stream, error) {
	if len(d.streams) == d.options.Sensors {
		sensor := d.longestSilent()
		if e.Offset-d.streams[sensor].place.heard <= silentRecords*d.live(e.Offset) {
			d.counts.refused.Add(1)
			d.lines.refused.Log(ctx, d.deps.Log, slog.LevelError, "a partition has more sensors than are followed", slog.String("sensor", e.Sensor), slog.Int("followed", d.options.Sensors))
			return nil, nil //nolint:nilnil // it is left
		}
		delete(d.streams, sensor)
		d.counts.forgotten.Add(1)
		d.lines.forgotten.Log(ctx, d.deps.Log, slog.LevelWarn, "a sensor that has been silent for long is forgotten: another needs its place", slog.String("sensor", sensor), slog.String("other", e.Sensor))
		if err := d.deps.Checkpoints.Forget(ctx, sensor); err != nil {
			return nil, err
		}
	}
	s, err := d.stream(e.Sensor)
	if err != nil {
		return nil, err
	}
	d.streams[e.Sensor] = s
	s.done.next, s.done.heard = e.Offset, e.Offset
	return s, d.save(ctx, s) // or a successor, who knows those of others only, might begin behind it
}

// live is how many sensors have been heard lately, 1 at least.
func (d *RemoteDetector) live(at int64) int64 {
	n := int64(0)
	for _, s := range d.streams {
		if at-s.place.heard < silentRecords {
			n++
		}
	}
	return max(n, 1)
}

// longestSilent is the sensor whose last record is the oldest.
func (d *RemoteDetector) longestSilent() string {
	return slices.MinFunc(slices.Sorted(maps.Keys(d.streams)), func(a, b string) int {
		return cmp.Compare(d.streams[a].place.heard, d.streams[b].place.heard)
	})
}

// refresh writes the checkpoints of sensors that have been silent for long.
func (d *RemoteDetector) refresh(ctx context.Context) error {
	for _, sensor := range slices.Sorted(maps.Keys(d.streams)) {
		if s := d.streams[sensor]; s.open == 0 && d.at-s.saved > refreshFactor*int64(d.options.Every) {
			if err := d.save(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// save writes a stream's checkpoint, when the alerts before it are kept.
func (d *RemoteDetector) save(ctx context.Context, s *stream) error {
	if s.open == 0 && s.place.any { // nothing of it lies between
		s.place.next = max(s.place.next, d.at)
		s.done = s.place
	}
	if err := d.deps.Alerts.Flush(ctx); err != nil {
		return err
	}
	s.slots = 0
	switch err := d.deps.Checkpoints.Save(ctx, s.sensor, d.codec.encode(&s.done, s.detector.judge.Checkpoint)); {
	case errors.Is(err, ErrCheckpoint): // a successor goes on from the one before
		d.lines.unkept.Log(ctx, d.deps.Log, slog.LevelError, "the broker does not take a checkpoint: let netlyra.state have records of 64 MB", slog.String("sensor", s.sensor))
		return nil
	case err != nil:
		return err
	}
	s.saved = s.done.next
	d.counts.checkpoints.Add(1)
	return nil
}

// stream is one sensor's. What its detector is told between two slots does no harm if it is told it again.
type stream struct {
	of        *RemoteDetector
	sensor    string
	detector  *Detector
	assembler bus.SlotAssembler
	place     place  // behind the last record
	done      place  // behind the last slot
	open      uint64 // records of a slot others of which have not come
	slots     int    // judged since the last checkpoint
	saved     int64  // offset of the last checkpoint
}

func (d *RemoteDetector) stream(sensor string) (*stream, error) {
	detector, err := NewDetector(DetectorOptions{Sensor: sensor, Detect: d.options.Detect}, DetectorDeps{Alerts: d.deps.Alerts.Send})
	if err != nil {
		return nil, err
	}
	return &stream{of: d, sensor: sensor, detector: detector}, nil
}

// restore goes on from a checkpoint. With an error the stream is as before.
func (s *stream) restore(c *takeoverCodec, b []byte) error {
	p, judge, err := c.decode(b)
	if err != nil {
		return err
	}
	if err := s.detector.judge.Restore(judge); err != nil {
		return err
	}
	s.place, s.done, s.saved = p, p, p.next
	if p.any {
		s.detector.last = p.last
	}
	s.detector.publish()
	return nil
}

// read takes the record that has been decoded. The slot that it completes is valid until the next call; nil: it completes none.
func (s *stream) read(ctx context.Context) *models.SensorSlot {
	rec := &s.of.record
	if !s.follows(ctx, rec) {
		return nil
	}
	slot, err := s.assembler.Add(rec)
	if s.open++; err != nil {
		s.cut()
		return nil // the beginning of its slot is missing: it is left, and counted
	}
	if slot != nil {
		s.open = 0
	}
	return slot
}

// follows says whether a record is to be judged. It notices what is missing before it.
func (s *stream) follows(ctx context.Context, r *bus.SlotRecord) bool {
	c, p := &s.of.counts, &s.place
	again := r.Boot == p.boot && r.Boot == 0 && r.Seq == 0 && p.seq > 0 // a file's start is always 0
	switch {
	case !p.any:
	case r.Boot != p.boot && slices.Contains(p.left, r.Boot):
		c.second.Add(1)
		s.of.lines.second.Log(ctx, s.of.deps.Log, slog.LevelError, "two sensors have the same name, the one that was started last is followed: give each a name of its own",
			slog.String("sensor", s.sensor), slog.Uint64("left", r.Boot), slog.Uint64("followed", p.boot))
		return false
	case r.Boot != p.boot || again:
		if r.Boot != p.boot {
			p.leave()
		}
		c.restarts.Add(1)
		s.cut()
		s.detector.restarted()
		s.of.lines.started.Log(ctx, s.of.deps.Log, slog.LevelInfo, "a sensor has been started anew", slog.String("sensor", s.sensor), slog.Int64("slot", r.Slot))
	case r.Seq < p.seq:
		c.repeated.Add(1)
		return false
	case r.Seq > p.seq:
		missing := r.Seq - p.seq
		c.missing.Add(missing)
		s.cut()
		s.detector.judge.Gap()
		s.of.lines.missing.Log(ctx, s.of.deps.Log, slog.LevelWarn, "records of a sensor are missing", slog.String("sensor", s.sensor), slog.Uint64("records", missing), slog.Int64("slot", r.Slot))
	}
	p.any, p.boot, p.seq = true, r.Boot, r.Seq+1
	return true
}

// cut leaves the records of a slot that will not be completed.
func (s *stream) cut() {
	s.of.counts.cut.Add(s.open)
	s.assembler, s.open = bus.SlotAssembler{}, 0
}

// reject counts a record that cannot be read, and hands it on. It is missing then.
func (d *RemoteDetector) reject(ctx context.Context, e *Entry, reason error) error {
	n := &d.counts.damaged
	if errors.Is(reason, bus.ErrVersion) {
		n = &d.counts.newer
	}
	n.Add(1)
	d.lines.unread.Log(ctx, d.deps.Log, slog.LevelError, "a record cannot be read, it is left", slog.String("sensor", e.Sensor), slog.Int64("offset", e.Offset), slog.Any("error", reason))
	if d.deps.Rejected == nil || errors.Is(reason, bus.ErrVersion) {
		return nil
	}
	return d.deps.Rejected(ctx, *e, reason)
}
