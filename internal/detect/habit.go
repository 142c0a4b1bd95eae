package detect

import "netlyra/internal/models"

// habitKey is a host in a role.
type habitKey struct {
	host hostKey
	role Role
}

// habit is what is learned of a host in a role. It is kept apart from the entity, which is an address and what it did lately: all addresses
// of a host on this link have one habit, and it outlives them.
type habit struct {
	first    int64   // capture time of the first second that was learned from
	own      own     // what it usually does
	peak     float32 // the most connections that are usually opened in one window
	block    uint32  // of blockMicros, and the most evidence in it
	evidence float32
}

const maxHabits = 1 << 16

// hostKeyOf is the host behind an address: on this link its hardware address, else the address.
func (j *Judge) hostKeyOf(a models.Addr, mac models.MAC) hostKey {
	if j.onLink(mac) {
		return hostKey{mac: mac}
	}
	return hostKey{addr: a}
}

// habitKeyOf is under which an entity's habit is kept.
func (j *Judge) habitKeyOf(r Role, e *entity) habitKey {
	if j.options.Without&Hardware != 0 {
		return habitKey{hostKey{addr: e.addr}, r}
	}
	return habitKey{j.hostKeyOf(e.addr, e.mac), r}
}

// habit finds or makes the habit of an entity. What has been learned of an address before its hardware address was known goes over to the
// host. The pointer is valid until the next call.
func (j *Judge) habit(r Role, e *entity) *habit {
	k := j.habitKeyOf(r, e)
	h, fresh := j.habits.get(k)
	if !fresh {
		return h
	}
	h.first = j.end
	if k.host.mac == (models.MAC{}) { // "::" has no hardware address either
		return h
	}
	before := habitKey{hostKey{addr: e.addr}, r}
	if old := j.habits.find(before); old != nil {
		*h = *old
		j.habits.drop(before)
		h = j.habits.find(k) // drop may have moved it
	}
	return h
}

// knownHabit is the habit of an entity, nil where nothing has been learned.
func (j *Judge) knownHabit(r Role, e *entity) *habit {
	if h := j.habits.find(j.habitKeyOf(r, e)); h != nil {
		return h
	}
	return j.habits.find(habitKey{hostKey{addr: e.addr}, r})
}

// usual is the range that an entity usually keeps to; ok is false where it is not known.
func (j *Judge) usual(r Role, e *entity, f feature) (low, high float64, ok bool) {
	h := j.knownHabit(r, e)
	if h == nil {
		return 0, 0, false
	}
	return h.own.usual(f)
}

// usualPeak is the most connections that are usually opened by or to an entity in one window.
func (j *Judge) usualPeak(r Role, e *entity) float32 {
	if h := j.knownHabit(r, e); h != nil {
		return max(h.peak, e.peak)
	}
	return e.peak
}
