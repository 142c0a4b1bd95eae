package api

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"

	"netlyra/internal/models"

	"github.com/gin-gonic/gin"
)

// decider is who asks for a decision, or an error if it may not: where there is a token, who shows it; without, on loopback,
// the local users that Options.Deciders names.
func (s *Server) decider(c *gin.Context) (models.Actor, error) {
	r := c.Request
	whence := ""
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		whence = a.Addr().Unmap().String()
	}
	if s.auth.on { // checkAuth has seen the token
		return models.Actor{Who: "token", Whence: whence}, nil
	}
	uid, err := s.uidOf(r)
	if err != nil {
		return models.Actor{}, &apiError{
			code: codeNotPermitted, cause: err,
			message: "which local user asks cannot be told here, so that decisions need a token: start netlyra with --token-file and show it",
		}
	}
	name, may := s.deciders[uid]
	if !may {
		return models.Actor{}, fail(codeNotPermitted, fmt.Sprintf("the user with uid %d may read but not decide: decisions come from root and from who started netlyra; "+
			"ask as one of them, or start netlyra with --token-file and show the token", uid))
	}
	return models.Actor{Who: name, Whence: whence}, nil
}

// decided logs a decision.
func (s *Server) decided(c *gin.Context, by models.Actor, action, object string) {
	s.log.LogAttrs(c, slog.LevelInfo, "decision", slog.String("who", by.Who), slog.String("whence", by.Whence),
		slog.String("action", action), slog.String("object", object))
}

// deciderNames looks up names while the user database can be read: later it may be out of reach.
func deciderNames(uids []int) map[int]string {
	if uids == nil {
		uids = []int{0, os.Getuid()}
	}
	names := map[int]string{}
	for _, uid := range uids {
		names[uid] = fmt.Sprintf("uid %d", uid)
		if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			names[uid] = u.Username
		}
	}
	return names
}

// uidOf is the owner of the socket at the other end of r's connection. It is looked up once: a socket keeps its owner.
func (s *Server) uidOf(r *http.Request) (int, error) {
	place := seatOf(r)
	if place != nil && place.hasUID {
		return place.uid, nil
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr) // net/http has put it there
	if local == nil {
		return 0, errors.New("api: a request without a connection")
	}
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return 0, fmt.Errorf("api: address of a client: %w", err)
	}
	server, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return 0, fmt.Errorf("api: address of a listener: %w", err)
	}
	uid, err := s.sockets.owner(client, server)
	if err == nil && place != nil {
		place.uid, place.hasUID = uid, true // requests of one connection come one after the other
	}
	return uid, err
}

// sockets is the kernel's table of TCP sockets in this program's network namespace (proc_net_tcp in the kernel's
// documentation). The files stay open, so that they can be read where no path can be opened any more.
type sockets struct {
	mu    sync.Mutex
	files []*os.File
}

func openSockets() *sockets {
	s := &sockets{}
	for _, path := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		if f, err := os.Open(path); err == nil { // none at all is reported when somebody is to be looked up
			s.files = append(s.files, f)
		}
	}
	return s
}

func (s *sockets) close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// lookUps bounds how often the table is read for one answer: while it changes, a reading may pass over a socket.
const lookUps = 4

// owner is the uid of the socket that has client as its own address and server as the other end's. A socket that its program
// has closed belongs to nobody, and the kernel then says 0, as for root. Therefore it must have an inode, and two readings one
// after the other must say the same.
func (s *sockets) owner(client, server netip.AddrPort) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := -1
	for range lookUps {
		uid, err := s.find(client, server)
		switch {
		case err != nil:
			return 0, err
		case uid >= 0 && uid == last:
			return uid, nil
		}
		last = uid
	}
	return 0, fmt.Errorf("api: the kernel's table has no socket from %s to %s", client, server)
}

// find reads the table once; -1: there is no such socket.
func (s *sockets) find(client, server netip.AddrPort) (int, error) {
	wants := []string{socketKey(client, server, false), socketKey(client, server, true)}
	if len(s.files) == 0 {
		return 0, errors.New("api: the kernel shows no table of sockets (/proc/net/tcp)")
	}
	for _, f := range s.files {
		lines := bufio.NewScanner(io.NewSectionReader(f, 0, 1<<40))
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || !slices.Contains(wants, fields[1]+" "+fields[2]) {
				continue
			}
			const timeWait = "06"
			uid, err := strconv.Atoi(fields[7])
			if err == nil && fields[9] != "0" && fields[3] != timeWait {
				return uid, nil
			}
		}
		if err := lines.Err(); err != nil {
			return 0, fmt.Errorf("api: table of sockets: %w", err)
		}
	}
	return -1, nil
}

// socketKey is both ends of a connection as the table has them; in that of IPv6 an IPv4 address is a mapped one.
func socketKey(local, remote netip.AddrPort, wide bool) string {
	end := func(a netip.AddrPort) string {
		ip := a.Addr().Unmap()
		b := ip.AsSlice()
		if wide && ip.Is4() {
			mapped := ip.As16()
			b = mapped[:]
		}
		var text strings.Builder
		for ; len(b) >= 4; b = b[4:] {
			fmt.Fprintf(&text, "%08X", binary.NativeEndian.Uint32(b))
		}
		return fmt.Sprintf("%s:%04X", text.String(), a.Port())
	}
	return end(local) + " " + end(remote)
}
