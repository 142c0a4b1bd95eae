package traffic

import "encoding/binary"

// The variants of a client: they differ in what their hello offers, so that fingerprints differ as those of real programs do.
const (
	appBrowser = iota
	appSystem  // the operating system's own services
	appScript
	appCount
)

// clientHello is a TLS 1.3 record with the server's name (RFC 8446, section 4.1.2; RFC 6066, section 3).
func (p *proc) clientHello(name string, app int) []byte {
	b := p.s.scratch[:0]
	b = append(b, 22, 3, 1, 0, 0, 1, 0, 0, 0)
	b = p.helloBody(b, name, app, nil)
	binary.BigEndian.PutUint16(b[3:], uint16(len(b)-5))
	binary.BigEndian.PutUint16(b[7:], uint16(len(b)-9))
	return b
}

// helloBody appends what follows a hello's length; quic are its transport parameters, if it goes over QUIC.
func (p *proc) helloBody(b []byte, name string, app int, quic []byte) []byte {
	ciphers := [appCount][]uint16{
		{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035},
		{0x1302, 0x1301, 0xc02c, 0xc02b, 0xc030, 0xc02f, 0xc024, 0xc023, 0x009d, 0x009c, 0x003d, 0x003c},
		{0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc02b, 0xc02f, 0x00ff},
	}[app]
	b = append(b, 3, 3)
	b = p.random(b, 32)
	if quic == nil {
		b = append(b, 32)
		b = p.random(b, 32)
	} else {
		b = append(b, 0)
		ciphers = ciphers[:3]
	}
	b = binary.BigEndian.AppendUint16(b, uint16(2*len(ciphers)))
	for _, c := range ciphers {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	b = append(b, 1, 0)
	at := len(b)
	b = append(b, 0, 0)
	b = extension(b, 0, func(b []byte) []byte { // server_name
		b = binary.BigEndian.AppendUint16(b, uint16(len(name)+3))
		b = append(b, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
		return append(b, name...)
	})
	b = p.helloExtensions(b, app, quic)
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	return b
}

func (p *proc) helloExtensions(b []byte, app int, quic []byte) []byte {
	raw := func(kind uint16, data ...byte) {
		b = extension(b, kind, func(b []byte) []byte { return append(b, data...) })
	}
	raw(10, 0, 6, 0, 0x1d, 0, 0x17, 0, 0x18) // supported_groups
	raw(13, 0, 10, 4, 3, 8, 4, 4, 1, 5, 3, 8, 5)
	switch {
	case quic != nil:
		raw(16, 0, 3, 2, 'h', '3')
		raw(57, quic...) // quic_transport_parameters (RFC 9001, section 8.2)
	case app == appBrowser:
		raw(16, 0, 12, 2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1')
		raw(11, 1, 0)
		raw(0x23)
		raw(5, 1, 0, 0, 0, 0)
		raw(0xff01, 0)
	case app == appSystem:
		raw(16, 0, 9, 8, 'h', 't', 't', 'p', '/', '1', '.', '1')
		raw(11, 1, 0)
		raw(23)
	default:
		raw(11, 3, 0, 1, 2)
		raw(22)
		raw(23)
	}
	raw(45, 1, 1)                                   // psk_key_exchange_modes
	raw(43, 4, 3, 4, 3, 3)                          // supported_versions
	return extension(b, 51, func(b []byte) []byte { // key_share
		b = append(b, 0, 36, 0, 0x1d, 0, 32)
		return p.random(b, 32)
	})
}

// extension appends one extension whose data add writes.
func extension(b []byte, kind uint16, add func([]byte) []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, kind)
	at := len(b)
	b = add(append(b, 0, 0))
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	return b
}

// random appends n random bytes.
func (p *proc) random(b []byte, n int) []byte {
	at := len(b)
	for range n {
		b = append(b, 0)
	}
	p.s.bodies.fill(p.rng, b[at:], random)
	return b
}

// serverHello is the answer and the change of random (RFC 8446, section 4.1.3 and appendix D.4).
func (p *proc) serverHello() []byte {
	b := append(p.s.scratch[:0], 22, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3)
	b = p.random(b, 32)
	b = append(b, 32)
	b = p.random(b, 32)
	b = append(b, 0x13, 1, 0, 0, 46, 0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 0x1d, 0, 32)
	b = p.random(b, 32)
	return append(b, 20, 3, 3, 0, 1, 1)
}

// handshake is TLS 1.3's, after which both sides send records.
func (k *conn) handshake(name string, app int) {
	p := k.p
	k.send(client, p.clientHello(name, app), 0, random)
	p.sleep(k.turn(server))
	k.send(server, p.serverHello(), int(p.between(2400, 4200)), tls)
	p.sleep(k.turn(client))
	k.send(client, []byte{20, 3, 3, 0, 1, 1}, 74, tls)
	p.sleep(50)
}

// secure opens a TLS connection to a site: name, address, handshake.
func (p *proc) secure(h *host, s *site) *conn {
	if !p.lookup(h, s) {
		return nil
	}
	k := p.dial(&h.node, s.node(p), 443)
	if k != nil {
		k.handshake(s.name, s.app)
	}
	return k
}
