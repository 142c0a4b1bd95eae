package capture

import (
	"errors"
	"time"

	"golang.org/x/net/bpf"

	"netlyra/internal/models"
)

// ErrPrivilege says that the process may not open packet sockets. What wraps it names the remedy.
var ErrPrivilege = errors.New("operation not permitted")

// ErrNoInterface says that an interface does not exist. What wraps it names those that do.
var ErrNoInterface = errors.New("there is no interface")

const (
	defaultRingBytes = 64 << 20 // 0.3 s of the smallest frames at 1 Gbit/s
	blockBytes       = 256 << 10
	blockTimeout     = 4 * time.Millisecond // how long the kernel keeps a block that does not fill
)

// idleMargin is how far a live source's watermark stays behind the clock on an idle link. A packet may wait in an open
// block for up to two block timeouts, since the kernel's timer gives a block that was begun after its last look one more
// round; and where the kernel ticks 250 times a second, either may take a tick of 4 ms more.
const idleMargin = 2*blockTimeout + 8*time.Millisecond

// LiveOptions are the settings of OpenLive.
type LiveOptions struct {
	Interfaces []string
	Workers    int // rings that share the interfaces' packets by connection; 0 means 1
	RingBytes  int // kernel memory of each ring for each interface; 0 means 64 MiB
	// Filter gives the kernel's program for an interface's link type: packets for which it returns 0 are not captured,
	// nor counted. A VLAN tag is in the packet's metadata, not in its bytes. nil, or no instruction, takes everything.
	Filter func(link models.LinkType) ([]bpf.RawInstruction, error)
}

// Device is an interface of this machine.
type Device struct {
	Name         string
	Up           bool     // somebody has brought it up
	Carrier      bool     // and it has a link
	Watchable    bool     // its frames can be decoded
	HardwareType uint16   // of the kernel (ARPHRD of linux/if_arp.h)
	Addresses    []string // with the length of the prefix
}
