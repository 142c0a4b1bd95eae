package kafka

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"netlyra/internal/bus"
)

// docs/wire-format.md says how topics are made, and names the headers.
func TestTopicsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/wire-format.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range bus.Topics() {
		s := specOf(topic)
		compressed := map[bus.Topic]string{bus.TopicPackets: "lz4", bus.TopicSlots: "the record is a zstd frame", bus.TopicState: "the detector"}[topic]
		if compressed == "" {
			compressed = "zstd"
		}
		kept := "the newest of a key"
		if s.retention > 0 {
			kept = fmt.Sprintf("%d h", int(s.retention.Hours()))
		}
		largest := max(1, s.maxBytes>>20)
		row := fmt.Sprintf("| `%s` | `%s/%d` | %s | %s | %s | %d MB |", topic, s.schema, schemaVersion, compressed, s.cleanup, kept, largest)
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/wire-format.md does not have the row\n%s", row)
		}
		for _, h := range s.headers() {
			if !strings.Contains(string(page), "`"+h.Key+"`") {
				t.Errorf("docs/wire-format.md does not name the header %s", h.Key)
			}
		}
	}
}

// docs/operations.md lists what Health can say, and what is lost.
func TestProblemsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{
		BrokerUnreachable, BrokerTLS, BrokerRefuses, BrokerSlow, BufferFull, TopicMissing, TopicRefused, RecordsMalformed, RecordsNewer,
	} {
		if !strings.Contains(string(page), "\n| `"+code+"` |") {
			t.Errorf("docs/operations.md does not list %s", code)
		}
	}
	for _, reason := range []string{bus.DropFull, DropUndelivered, DropMalformed, DropNewerVersion} {
		if !strings.Contains(string(page), "`bus.*/"+reason+"`") {
			t.Errorf("docs/operations.md does not name the loss %s", reason)
		}
	}
}
