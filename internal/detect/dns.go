package detect

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
	"unsafe"

	"golang.org/x/net/publicsuffix"

	"netlyra/internal/models"
)

// A tunnel through DNS carries its data in names that nobody has asked for before, all under one domain, and its answers in record types
// that can hold them. What counts is therefore, per client and registered domain, how many bytes new names have carried.

// domainKey is a client and a registered domain; without a client, the domain as the network knows it.
type domainKey struct {
	client hostKey
	domain uint64
}

// domain is what a client asks about one domain: in this minute and the one before, and in this hour.
type domain struct {
	minute   int64
	names    [2]names
	carried  [2]carried
	hour     int64
	long     names
	longest  carried
	strange  bool // nobody had asked for it when everything was taken for usual
	renown   renown
	culprit  models.Addr // the address that the client is known by, where it has several
	servers  [renownUsers]models.Addr
	serverN  uint8
	text     [maxDomain]byte
	textSize uint8
}

// carried is what new names and their answers have carried.
type carried struct {
	asked   uint32 // questions
	names   uint32 // new ones
	bytes   uint32 // of the names, without the domain
	odd     uint32 // new names asked for in a record type that carries data
	answers uint32
	down    uint32 // bytes of the answers beyond the question
}

// names is a set by linear counting: 1024 bits tell up to some hundred names apart.
type names [16]uint64

const (
	maxDomain    = 64
	maxDomains   = 1 << 12
	tunnelNames  = 25 // in one to two minutes
	tunnelBytes  = 2_500
	plainFactor  = 3 // for record types that carry an address only
	oddNames     = 40
	oddFew       = 15 // when they bring as much as oddBytes back
	oddBytes     = 3_000
	meanBytes    = 20 // of a name, without its domain: those of machines that are called by number are shorter
	slowNames    = 250
	slowMean     = 24
	strangeNames = 80 // of a domain that is new here and that one host alone asks for, hardly ever the same name twice
	strangeMean  = 10
	strangeShare = 0.75 // new names a question
	knownFactor  = 4    // for a domain that several hosts use
	answerShare  = 40   // bytes of an answer beyond the question, below which data only goes out
	minuteMicros = 60 * secondMicros
	hourMicros   = 3600 * secondMicros
)

// What a tunnel through DNS is told by: the bytes of new names, new names asked for in record types that carry data, what comes back in
// such records, new names in an hour.
const (
	leadNameBytes = "name_bytes"
	leadOddNames  = "names_with_data_records"
	leadOddBytes  = "bytes_in_data_records"
	leadHourNames = "names_in_an_hour"
)

// add says whether a name is new.
func (n *names) add(h uint64) bool {
	word, bit := h>>6%uint64(len(n)), h%64
	if n[word]>>bit&1 == 1 {
		return false
	}
	n[word] |= 1 << bit
	return true
}

func (n *names) has(h uint64) bool { return n[h>>6%uint64(len(n))]>>(h%64)&1 == 1 }

// plain says whether a record type carries an address, or is asked for about one: A, AAAA, PTR, HTTPS, SOA, NS.
func plain(qtype uint16) bool {
	switch qtype {
	case 1, 2, 6, 12, 28, 64, 65:
		return true
	}
	return false
}

// service says whether a name is one of a service: those with underscores (RFC 8552), which are asked for by design.
func service(name []byte) bool { return name[0] == '_' || bytes.Contains(name, []byte("._")) }

// ObserveDNS takes the slot's DNS messages; lost is how many more there were. It keeps a copy until the next Reset.
func (a *Accumulator) ObserveDNS(qs []models.Question, lost uint64) {
	a.questions = append(a.questions[:0], qs...)
	a.unobserved += lost
}

// questions judges the slot's DNS messages, in an order that does not depend on who accumulated them.
func (j *Judge) questions(parts []*Accumulator) {
	j.asked = j.asked[:0]
	for _, a := range parts {
		for i := range a.questions {
			j.asked = append(j.asked, &a.questions[i])
		}
	}
	slices.SortFunc(j.asked, compareQuestions)
	for _, q := range j.asked {
		j.question(q)
	}
}

func compareQuestions(a, b *models.Question) int {
	return cmp.Or(cmp.Compare(a.TS, b.TS), compareAddr(a.Client, b.Client), compareAddr(a.Server, b.Server),
		bytes.Compare(a.Name[:a.Len], b.Name[:b.Len]), cmp.Compare(a.QType, b.QType), cmp.Compare(a.Size, b.Size),
		cmp.Compare(answers(a), answers(b)))
}

// answers is 0 for a question, 1 for an answer.
func answers(q *models.Question) int {
	if q.Answer {
		return 1
	}
	return 0
}

// registered is the part of a name that somebody has registered, by the public suffix list; nil for what belongs to nobody: single
// labels and the reverse zones (RFC 1035, section 3.5).
func registered(name []byte) []byte {
	if len(name) == 0 || bytes.HasSuffix(name, []byte(".arpa")) {
		return nil
	}
	text := unsafe.String(&name[0], len(name)) // the list wants a string, and keeps none
	suffix, _ := publicsuffix.PublicSuffix(text)
	rest := len(name) - len(suffix) - 1
	if rest <= 0 {
		return nil
	}
	return name[bytes.LastIndexByte(name[:rest], '.')+1:]
}

// hashBytes is 64-bit FNV-1a, its high bits folded down.
func hashBytes(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	hi, lo := bits.Mul64(h, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

func (j *Judge) question(q *models.Question) {
	name := q.Name[:q.Len]
	base := registered(name)
	if base == nil || len(base) == len(name) {
		return // the domain itself carries nothing
	}
	id := hashBytes(base)
	known, first := j.domains.get(domainKey{domain: id})
	if first {
		known.strange = j.learned()
	}
	strange := known.strange
	known.meetServer(q.Server)
	client := j.asker(q.Client)
	users := known.renown.meet(client.hash())
	if known.serves(q.Client) {
		return // a resolver that asks on behalf of others, who have been heard
	}
	d, fresh := j.domains.get(domainKey{client, id})
	if fresh {
		d.culprit = q.Client
		d.textSize = uint8(copy(d.text[:], base[max(0, len(base)-maxDomain):]))
	}
	d.strange = strange
	d.turn(q.TS)
	if q.Answer {
		d.answer(q)
		return
	}
	d.ask(q, hashBytes(name), len(name)-len(base)-1)
	j.limitTunnel(q, d, users)
}

// asker is the host behind an address: one host asks over IPv4 and IPv6.
func (j *Judge) asker(a models.Addr) hostKey {
	if e := j.roles[Source].entities.find(a); e != nil && j.onLink(e.mac) {
		return hostKey{mac: e.mac}
	}
	return hostKey{addr: a}
}

// meetServer notes who answers for a domain, or is asked to.
func (d *domain) meetServer(a models.Addr) {
	if d.serves(a) {
		return
	}
	d.servers[d.serverN%renownUsers] = a
	if d.serverN++; d.serverN == 2*renownUsers { // the list is full, and stays so
		d.serverN = renownUsers
	}
}

func (d *domain) serves(a models.Addr) bool {
	return slices.Contains(d.servers[:min(d.serverN, renownUsers)], a)
}

func (d *domain) turn(ts int64) {
	if m := ts / minuteMicros; m > d.minute {
		d.names[1], d.carried[1] = names{}, carried{}
		if m == d.minute+1 {
			d.names[1], d.carried[1] = d.names[0], d.carried[0]
		}
		d.names[0], d.carried[0] = names{}, carried{}
		d.minute = m
	}
	if h := ts / hourMicros; h > d.hour {
		d.long, d.longest, d.hour = names{}, carried{}, h
	}
}

func (d *domain) ask(q *models.Question, hash uint64, size int) {
	d.carried[0].asked++
	d.longest.asked++
	if d.long.add(hash) {
		d.longest.names++
		d.longest.bytes += uint32(size)
	}
	if d.names[1].has(hash) || !d.names[0].add(hash) {
		return
	}
	c := &d.carried[0]
	c.names++
	c.bytes += uint32(size)
	if !plain(q.QType) && !service(q.Name[:q.Len]) {
		c.odd++
	}
}

func (d *domain) answer(q *models.Question) {
	const header, tail = 12, 6 // RFC 1035, section 4.1: before and around the name
	c := &d.carried[0]
	c.answers++
	c.down += uint32(max(int(q.Size)-header-tail-int(q.Len), 0))
}

// recent is what the last one to two minutes have carried.
func (d *domain) recent() carried {
	a, b := &d.carried[0], &d.carried[1]
	return carried{a.asked + b.asked, a.names + b.names, a.bytes + b.bytes, a.odd + b.odd, a.answers + b.answers, a.down + b.down}
}

func (c *carried) mean() uint32 { return c.bytes / max(c.names, 1) }

// limitTunnel: new names under one domain that carry more than names do.
func (j *Judge) limitTunnel(q *models.Question, d *domain, users int) {
	c := d.recent()
	factor := uint32(1)
	if users > 2 {
		factor = knownFactor
	}
	plainly := factor
	if 2*c.odd < c.names {
		plainly *= plainFactor
	}
	switch {
	case c.bytes >= tunnelBytes*plainly && c.names >= tunnelNames && c.mean() >= meanBytes:
		j.tunnel(q, d, c, lead{leadNameBytes, "bytes", float64(c.bytes), float64(tunnelBytes * plainly)})
	case c.odd >= oddNames:
		j.tunnel(q, d, c, lead{leadOddNames, "names", float64(c.odd), oddNames})
	case c.odd >= oddFew && c.down >= oddBytes:
		j.tunnel(q, d, c, lead{leadOddBytes, "bytes", float64(c.down), oddBytes})
	case d.longest.names >= strangeNames && d.longest.mean() >= strangeMean && users == 1 && d.strange && float64(d.longest.names) >= strangeShare*float64(d.longest.asked):
		j.tunnel(q, d, c, lead{leadHourNames, "names", float64(d.longest.names), strangeNames})
	case d.longest.names >= slowNames*factor && d.longest.mean() >= slowMean:
		j.tunnel(q, d, c, lead{leadHourNames, "names", float64(d.longest.names), float64(slowNames * factor)})
	}
}

func (j *Judge) tunnel(q *models.Question, d *domain, c carried, l lead) {
	category := models.CategoryTunnel
	if c.answers > 0 && c.down < answerShare*c.answers && 2*c.odd < c.names {
		category = models.CategoryExfiltration // nothing comes back
	}
	f := finding{
		category: category, score: limitScore(l.value, l.limit), lead: l, hold: 5 * minuteMicros,
		pair: mainConn{peer: q.Server, respPort: portDNS, proto: models.ProtoUDP},
		text: printable(d.text[:d.textSize]),
	}
	f.reasons = []models.Reason{
		{Feature: l.feature, Value: l.value, Unit: l.unit, Expected: models.Range{High: l.limit}, Contribution: 0.6, Basis: models.BasisLimit},
		{Feature: "new_names", Value: float64(c.names), Unit: "names in 1 to 2 min", Expected: models.Range{High: tunnelNames}, Contribution: 0.2, Basis: models.BasisLimit},
		{Feature: "name_length", Value: float64(c.mean()), Unit: "bytes before the domain", Expected: models.Range{High: meanBytes}, Contribution: 0.2, Basis: models.BasisLimit},
	}
	s := models.ConnSlot{Orig: d.culprit, Resp: q.Server, RespPort: portDNS, Proto: models.ProtoUDP}
	j.blame(&s, f, 0)
}

// printable is text from a packet as it may be shown.
func printable(b []byte) string {
	shown := bytes.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return '?'
	}, b)
	return string(shown)
}
