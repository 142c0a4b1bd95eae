package capture

import (
	"bufio"
	"bytes"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
)

// members reads the members of a gzip file one after the other (RFC 1952, section 2.2). Bytes behind the last one that begin no member
// end it, as gzip(1) has it; they are told of, not taken for damage.
type members struct {
	src      *bufio.Reader
	member   *gzip.Reader
	trailing atomic.Bool // there are such bytes
	ended    bool
}

func newMembers(r io.Reader) (*members, error) {
	src := bufio.NewReader(r) // gzip reads no byte beyond a member of a source that is an io.ByteReader
	member, err := gzip.NewReader(src)
	if err != nil {
		return nil, err
	}
	member.Multistream(false)
	return &members{src: src, member: member}, nil
}

// Read gives the next decompressed bytes.
func (m *members) Read(b []byte) (int, error) {
	for !m.ended {
		n, err := m.member.Read(b)
		if err != io.EOF { //nolint:errorlint // io.Reader: the end of a member is io.EOF itself, damage is wrapped
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		head, err := m.src.Peek(len(gzipMagic()))
		switch {
		case bytes.Equal(head, gzipMagic()):
			if err := m.member.Reset(m.src); err != nil {
				return 0, err
			}
			m.member.Multistream(false)
		case err != nil && err != io.EOF: //nolint:errorlint // bufio passes on what the source said
			return 0, err
		default:
			m.ended = true
			m.trailing.Store(len(head) > 0)
		}
	}
	return 0, io.EOF
}
