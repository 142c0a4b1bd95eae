package models

import "errors"

// The errors that a reader of stored values tells apart.
var (
	// ErrNotFound: there is no value with this identity.
	ErrNotFound = errors.New("not found")
	// ErrBadQuery: the query itself is wrong (a cursor from somewhere else, a limit out of range); its text says what.
	ErrBadQuery = errors.New("bad query")
	// ErrQueryTimeout: the query was cut off because it looked at too much; narrower filters help.
	ErrQueryTimeout = errors.New("query took too long, narrow its filters")
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

// Page is a part of a list.
type Page[T any] struct {
	Items []T    `json:"items"` // never null
	Next  Cursor `json:"next"`  // null: this was the last page
}

// AlertQuery selects alerts, newest first by (TS, ID). Every filter that is not zero must match.
type AlertQuery struct {
	Limit    int    // 1 to MaxPageLimit; 0 means DefaultPageLimit
	Cursor   Cursor // Next of the page before, with the same filters
	Host     string // source or destination address, in canonical text
	Port     uint16 // source or destination port
	Proto    string // as Proto.String writes it
	From, To Micros // From <= TS < To
	MinScore float64
	State    AlertState
	Category Category
	Triage   Triage // "": all that are not hidden; TriageAll: those too
}

// ConnectionQuery selects connections, newest first by ID. Every filter that is not zero must match.
type ConnectionQuery struct {
	Limit    int    // 1 to MaxPageLimit; 0 means DefaultPageLimit
	Cursor   Cursor // Next of the page before, with the same filters
	Host     string // originator or responder address, in canonical text
	Port     uint16 // originator or responder port
	Proto    string // as Proto.String writes it
	From, To Micros // connections that were alive in between: LastTS >= From, FirstTS < To
	MinScore float64
	State    string // as ConnState.String writes it
}

// HostQuery selects hosts in the order of their addresses' text.
type HostQuery struct {
	Limit  int    // 1 to MaxPageLimit; 0 means DefaultPageLimit
	Cursor Cursor // Next of the page before
}

// StoreCounts says how much is stored.
type StoreCounts struct {
	Alerts      int64 `json:"alerts"`
	Connections int64 `json:"connections"`
	Hosts       int64 `json:"hosts"`
	Bytes       int64 `json:"bytes"` // in use in the database file, free pages not counted
}

// StoreHealth says whether what is given to the store still reaches the disk.
type StoreHealth struct {
	Healthy  bool     `json:"healthy"`
	Problem  string   `json:"problem,omitempty"`   // one sentence with the remedy; "" while healthy
	Since    Micros   `json:"since"`               // wall clock of the first failure of this problem; null while healthy
	SetAside []string `json:"set_aside,omitempty"` // files of a damaged database that this start has moved out of the way
}
