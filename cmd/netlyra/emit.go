package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"netlyra/internal/bus"
	"netlyra/internal/config"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

// emitter writes the records of `analyze --emit` to standard output. The first error ends the reading, and is kept.
type emitter struct {
	out     *bufio.Writer
	flushed time.Time
	stop    context.CancelFunc // ends the reading
	err     error
	packets *bus.PacketEncoder // of the watermarks
	slots   *bus.SlotEncoder
	buf     []byte
}

// emitEvery is how long a record waits at most for others that are written with it, as long as slots follow one another.
const emitEvery = 100 * time.Millisecond

// emitter makes what takes the records that --emit asks for, nil if none; stop ends the reading once nobody takes them.
func (p *program) emitter(c *config.Analyze, stop context.CancelFunc) (*emitter, pipeline.Records, error) {
	if c.Emit == config.EmitAlerts {
		return nil, pipeline.Records{}, nil
	}
	if c.Emit == config.EmitSlots && isTerminal(p.stdout) {
		return nil, pipeline.Records{}, &config.UsageError{Err: errors.New("--emit slots writes binary data, and standard output is a terminal: redirect it to a file or a program")}
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that has gone is an error of the write: what is open is still closed in order
	e := &emitter{out: bufio.NewWriterSize(p.stdout, 1<<16), stop: stop}
	if c.Emit == config.EmitSlots {
		var err error
		e.slots, err = bus.NewSlotEncoder(c.Sensor, 0)
		return e, pipeline.Records{Slots: e.takeSlot}, err
	}
	e.packets = bus.NewPacketEncoder(c.Sensor)
	return e, pipeline.Records{Packets: e.takePackets, EncodePacket: bus.LineEncoder(c.Sensor)}, nil
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// takePackets writes a slot's packets, then its watermark.
func (e *emitter) takePackets(_ context.Context, s *models.SensorSlot, records [][]byte) error {
	for _, r := range records {
		e.write(r)
	}
	e.buf = append(e.packets.AppendWatermark(e.buf[:0], bus.WatermarkOf(s)), '\n')
	e.write(e.buf)
	e.slotEnds()
	return nil
}

// takeSlot writes a slot's records.
func (e *emitter) takeSlot(_ context.Context, s *models.SensorSlot) error {
	if e.err == nil {
		e.failed(e.slots.Encode(s, func(_ bus.SlotKind, record []byte) error {
			_, err := e.out.Write(record)
			return err
		}))
	}
	e.slotEnds()
	return nil
}

func (e *emitter) write(b []byte) {
	if e.err != nil {
		return
	}
	_, err := e.out.Write(b)
	e.failed(err)
}

// slotEnds hands on what has waited for long enough.
func (e *emitter) slotEnds() {
	if now := time.Now(); e.err == nil && now.Sub(e.flushed) >= emitEvery {
		e.flushed = now
		e.failed(e.out.Flush())
	}
}

func (e *emitter) failed(err error) {
	if err != nil {
		e.err = err
		e.stop()
	}
}

// finish hands on the rest. The error says whether everything has been written.
func (e *emitter) finish() error {
	if e.err == nil {
		e.failed(e.out.Flush())
	}
	switch {
	case errors.Is(e.err, syscall.EPIPE), errors.Is(e.err, io.ErrClosedPipe):
		return errors.New("--emit: whoever read standard output has gone: the rest was not read")
	case e.err != nil:
		return fmt.Errorf("--emit: %w", e.err)
	}
	return nil
}
