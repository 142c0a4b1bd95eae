package role

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"netlyra/internal/bus"
	"netlyra/internal/models"
)

// diary notes what happens, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, s)
}

// What is produced before the end is read, and only then the last parts are told to end: whoever asks for the end, or fails.
func TestPartsEndInTheOrderOfData(t *testing.T) {
	failure := errors.New("it has failed")
	for _, tc := range []struct {
		name   string
		fails  string // which part
		asked  bool   // somebody asks for the end
		want   error
		unread bool // the failed reader does not read
	}{
		{"the source ends", "", false, nil, false},
		{"asked to", "", true, nil, false},
		{"a server fails", "server", false, failure, false},
		{"a reader fails", "reader", false, failure, true},
		{"the source fails", "sensor", false, failure, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := bus.NewMemory(bus.MemoryOptions{BufferBytes: 1})
			producer, err := b.Producer()
			if err != nil {
				t.Fatal(err)
			}
			consumer, err := b.Consumer("reader", bus.TopicHosts)
			if err != nil {
				t.Fatal(err)
			}
			ctx, ask := context.WithCancel(t.Context())
			defer ask()
			var d diary
			fails := func(part string) error {
				if tc.fails == part {
					return failure
				}
				return nil
			}
			sensor := PartFunc(func(ctx context.Context) error {
				if tc.asked {
					ask()
				}
				if tc.asked || tc.fails == "server" || tc.fails == "reader" {
					<-ctx.Done()
				}
				for range 3 { // what is under way; each fills the bus
					if err := producer.Produce(context.Background(), bus.Record{Topic: bus.TopicHosts, Value: bus.Hosts{Hosts: make([]models.Host, 1)}}); err != nil && !tc.unread {
						t.Error(err)
					}
				}
				d.note("sensor")
				return fails("sensor")
			})
			reader := PartFunc(func(ctx context.Context) error {
				if err := fails("reader"); err != nil {
					return err
				}
				for {
					_, err := consumer.Poll(ctx)
					if errors.Is(err, bus.ErrClosed) {
						d.note("reader")
						return nil
					}
					if err != nil {
						return err
					}
					d.note("record")
					if err := consumer.Commit(ctx); err != nil {
						return err
					}
				}
			})
			server := PartFunc(func(ctx context.Context) error {
				if err := fails("server"); err != nil {
					return err
				}
				<-ctx.Done()
				d.note("server")
				return nil
			})
			if err := Run(ctx, b, []Part{sensor}, []Part{reader}, []Part{server}); !errors.Is(err, tc.want) {
				t.Errorf("%v", err)
			}
			at := func(s string) int { return slices.Index(d.lines, s) }
			if tc.unread {
				if at("server") < at("sensor") {
					t.Errorf("%v", d.lines)
				}
				return
			}
			records := 0
			for _, l := range d.lines {
				if l == "record" {
					records++
				}
			}
			if records != 3 || at("reader") < at("sensor") || at("server") >= 0 && at("server") < at("reader") {
				t.Errorf("%v", d.lines)
			}
		})
	}
}
