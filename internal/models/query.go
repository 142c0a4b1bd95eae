package models

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The errors that a reader of stored values tells apart.
var (
	// ErrNotFound: there is no value with this identity.
	ErrNotFound = errors.New("not found")
	// ErrBadQuery: the query itself is wrong (a cursor from somewhere else, a limit out of range); its text says what.
	ErrBadQuery = errors.New("bad query")
	// ErrQueryTimeout: the query was cut off because it looked at too much; narrower filters help.
	ErrQueryTimeout = errors.New("query took too long, narrow its filters")
	// ErrBusy: another program holds the database locked.
	ErrBusy = errors.New("the database is locked by another program")
	// ErrUnwritable: the database cannot be written for another reason, such as a full disk; the text says which.
	ErrUnwritable = errors.New("the database cannot be written")
	// ErrUnreadable: the database cannot be read; the text says why.
	ErrUnreadable = errors.New("the database cannot be read")
)

// The bounds of a page.
const (
	DefaultPageLimit = 50
	MaxPageLimit     = 500
)

// Cursor says where the next page of a list starts. Its text is opaque: only what wrote it can read it. "" is the start
// in a query and the end in a page, where its JSON is null.
type Cursor string

// MarshalJSON writes the text, or null for the end. Cursors are URL-safe base64, which JSON need not escape.
func (c Cursor) MarshalJSON() ([]byte, error) {
	if c == "" {
		return []byte("null"), nil
	}
	return []byte(`"` + string(c) + `"`), nil
}

const liveCursor = "live "

// LiveCursor is the cursor of a page of live connections whose last one is id.
func LiveCursor(id int64) Cursor {
	return Cursor(base64.RawURLEncoding.EncodeToString([]byte(liveCursor + strconv.FormatInt(id, 10))))
}

// Live is the connection that a LiveCursor names, 0 for none: the list begins. The error wraps ErrBadQuery.
func (c Cursor) Live() (id int64, err error) {
	if c == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(string(c))
	if text, ok := strings.CutPrefix(string(b), liveCursor); ok && err == nil {
		if id, err = strconv.ParseInt(text, 10, 64); err == nil && id > 0 {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%w: the cursor is not of a page of live connections", ErrBadQuery)
}

// Page is a part of a list.
type Page[T any] struct {
	Items []T     `json:"items"`           // never null
	Next  Cursor  `json:"next"`            // null: this was the last page
	Total *uint64 `json:"total,omitempty"` // of all pages, where that is known
}

// Sort is the order of a list.
type Sort string

// The orders. SortNewest is the default; it alone has cursors that hold while rows come and go.
const (
	SortNewest   Sort = "newest"
	SortScore    Sort = "score"    // alerts: the highest first
	SortSeverity Sort = "severity" // alerts: the most severe first
	SortBytes    Sort = "bytes"    // connections, hosts: the most first
	SortAddress  Sort = "address"  // hosts: by the text of the address
)

// AlertQuery selects alerts. Every filter that is not zero must match; of a list, one member.
type AlertQuery struct {
	Limit       int          // 1 to MaxPageLimit; 0 means DefaultPageLimit
	Cursor      Cursor       // Next of the page before, with the same filters
	Sort        Sort         // "": SortNewest, by (TS, ID)
	Host        netip.Prefix // source or destination address lies in it
	Port        uint16       // source or destination port
	Proto       string       // as Proto.String writes it
	From, To    Micros       // From <= TS < To
	MinScore    float64
	State       AlertState
	Categories  []Category
	Severities  []Severity
	Sensor      string
	CommunityID string
	Text        string // part of the summary, an address or the id; letter case does not count
	Triage      Triage // "": all that are not hidden; TriageAll: those too
}

// ConnectionQuery selects connections. Every filter that is not zero must match; of a list, one member.
type ConnectionQuery struct {
	Limit       int          // 1 to MaxPageLimit; 0 means DefaultPageLimit
	Cursor      Cursor       // Next of the page before, with the same filters
	Sort        Sort         // "": SortNewest, by ID
	Host        netip.Prefix // originator or responder address lies in it
	Port        uint16       // originator or responder port
	Proto       string       // as Proto.String writes it
	From, To    Micros       // connections that were alive in between: LastTS >= From, FirstTS < To
	MinScore    float64
	States      []string // as ConnState.String writes it
	Sensor      string
	CommunityID string
	Alert       string // id of the incident that they belong to
	Text        string // part of the server name or an address; letter case does not count
}

// HostQuery selects hosts. Every filter that is not zero must match.
type HostQuery struct {
	Limit  int          // 1 to MaxPageLimit; 0 means DefaultPageLimit
	Cursor Cursor       // Next of the page before, with the same filters
	Sort   Sort         // "": SortNewest, seen last first
	Prefix netip.Prefix // the address lies in it
	Text   string       // part of the address or of the hardware address; letter case does not count
	Sensor string
	Since  Micros // LastTS >= Since
}

// SeriesQuery selects the traffic of a stretch of time.
type SeriesQuery struct {
	From, To int64  // seconds since the Unix epoch: From <= TS < To
	Step     int64  // seconds: 1, 10, 60 or 3600
	Sensor   string // "": the sum of all
}

// Actor is who asks for a decision.
type Actor struct {
	Who    string // a local user's name, "token" or "uid N"
	Whence string // the address that the request came from
}

// The actions of a Decision.
const (
	ActionTriage           = "triage"
	ActionExceptionAdded   = "exception_added"
	ActionExceptionChanged = "exception_changed"
	ActionExceptionRemoved = "exception_removed"
)

// Decision is one thing that a person has decided, as the store keeps it for whoever asks later.
type Decision struct {
	ID     int64  `json:"id"     gorm:"primaryKey;autoIncrement:false"`
	TS     Micros `json:"ts"` // wall clock
	Who    string `json:"who"`
	Whence string `json:"whence"`
	Action string `json:"action"` // "triage", "exception_added", "exception_changed", "exception_removed"
	Object string `json:"object"` // id of the alert or the exception
	Detail string `json:"detail"` // what was decided, in words
}

// DecisionQuery selects decisions, newest first.
type DecisionQuery struct {
	Limit  int
	Cursor Cursor
	Object string // id of an alert or an exception; "": all
}

// StoreCounts says how much is stored.
type StoreCounts struct {
	Alerts      int64 `json:"alerts"`
	Connections int64 `json:"connections"`
	Hosts       int64 `json:"hosts"`
	Bytes       int64 `json:"bytes"` // in use in the database file, free pages not counted
}

// The codes of StoreHealth.
const (
	StoreFailing     = "store_failing"        // cannot be written; the sentence says why
	StoreFull        = "store_full"           // the disk is full
	StoreLocked      = "store_locked"         // another program holds the lock
	StoreDamaged     = "store_damaged"        // the file is broken
	StoreGone        = "store_gone"           // the file has been deleted, moved or replaced
	StoreLowSpace    = "store_low_space"      // only alerts are stored
	StoreUnreadable  = "store_unreadable"     // reads fail
	StoreDescriptors = "file_descriptors"     // the process has no file descriptor left
	StoreExposed     = "store_world_writable" // anybody on this machine may write into the directory
)

// StoreHealth says whether what is given to the store still reaches the disk, and whether it can be read.
type StoreHealth struct {
	Healthy  bool     `json:"healthy"`
	Code     string   `json:"code,omitempty"`      // of the problem, for programs: one of the Store… codes; "" while healthy
	Problem  string   `json:"problem,omitempty"`   // one sentence with the remedy; "" while healthy
	Since    Micros   `json:"since"`               // wall clock of the first failure of this problem; null while healthy
	SetAside []string `json:"set_aside,omitempty"` // files of a damaged database that this program has moved out of the way
	Exposed  string   `json:"exposed,omitempty"`   // the database's directory, where anybody may write into it
}
