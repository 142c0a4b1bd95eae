package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"netlyra/internal/models"

	"github.com/gin-gonic/gin"
)

// code names a kind of error for programs. status gives each its HTTP status.
type code string

const (
	codeBadParameter  code = "bad_parameter"
	codeBadCursor     code = "bad_cursor"
	codeBadBody       code = "bad_body"
	codeUnauthorized  code = "unauthorized"
	codeWrongToken    code = "wrong_token"
	codeWrongTooOften code = "too_many_wrong_tokens"
	codeNotPermitted  code = "not_permitted"
	codeBadOrigin     code = "origin_not_allowed"
	codeNotFound      code = "not_found"
	codeNoRoute       code = "no_such_route"
	codeBadMethod     code = "method_not_allowed"
	codeTooLarge      code = "body_too_large"
	codeBadHost       code = "host_not_allowed"
	codeNoUpgrade     code = "websocket_required"
	codeNotJSON       code = "json_required"
	codeEncoded       code = "encoding_not_supported"
	codeLimit         code = "limit_reached"
	codeExists        code = "exception_exists"
	codeBusy          code = "busy"
	codeStore         code = "store_unavailable"
	codeTimeout       code = "query_timeout"
	codeDatabaseBusy  code = "database_busy"
	codeNotReady      code = "not_ready"
	codeInternal      code = "internal"
	statusClientGone       = 499 // nginx's: nobody reads it, but the log and the metrics tell it from an error
	codeClientGone    code = "client_gone"
)

// status is the only place that chooses one.
func (c code) status() int {
	switch c {
	case codeBadParameter, codeBadCursor, codeBadBody:
		return http.StatusBadRequest
	case codeUnauthorized, codeWrongToken:
		return http.StatusUnauthorized
	case codeWrongTooOften:
		return http.StatusTooManyRequests
	case codeBadOrigin, codeNotPermitted:
		return http.StatusForbidden
	case codeNotFound, codeNoRoute:
		return http.StatusNotFound
	case codeBadMethod:
		return http.StatusMethodNotAllowed
	case codeLimit, codeExists:
		return http.StatusConflict
	case codeNotJSON, codeEncoded:
		return http.StatusUnsupportedMediaType
	case codeTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeBadHost:
		return http.StatusMisdirectedRequest
	case codeNoUpgrade:
		return http.StatusUpgradeRequired
	case codeBusy, codeStore, codeTimeout, codeDatabaseBusy, codeNotReady:
		return http.StatusServiceUnavailable
	case codeClientGone:
		return statusClientGone
	case codeInternal:
	}
	return http.StatusInternalServerError
}

// refuses says whether the code is about who asks, not about what is asked.
func (c code) refuses() bool {
	switch c {
	case codeUnauthorized, codeWrongToken, codeWrongTooOften, codeNotPermitted, codeBadOrigin, codeBadHost, codeBusy:
		return true
	default:
		return false
	}
}

// apiError is an error as a client sees it; message is for people and holds nothing of the inside.
type apiError struct {
	code     code
	message  string
	field    string // the parameter, or the field of the body, that is wrong; "" for none
	existing string // the id of what is there already; "" for none
	retry    int    // seconds until it makes sense to try again; 0: not said, or the code's own
	cause    error  // logged, not sent
}

func (e *apiError) Error() string { return "api: " + string(e.code) + ": " + e.message }

func (e *apiError) Unwrap() error { return e.cause }

func fail(c code, message string) *apiError { return &apiError{code: c, message: message} }

func failField(c code, field, message string) *apiError {
	return &apiError{code: c, field: field, message: message}
}

// asAPIError gives every error of the store or a handler its code.
func asAPIError(err error) *apiError {
	var e *apiError
	var tooLarge *http.MaxBytesError
	var field *models.FieldError
	var duplicate *models.DuplicateException
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &field):
		return &apiError{code: codeBadBody, message: field.Error(), field: field.Field, cause: err}
	case errors.As(err, &duplicate):
		return &apiError{code: codeExists, message: duplicate.Error(), existing: duplicate.ID, cause: err}
	case errors.Is(err, models.ErrTooManyExceptions):
		return because(codeLimit, err, fmt.Sprintf("there are %d exceptions already: remove some that are not needed any more", models.MaxExceptions))
	case errors.Is(err, models.ErrNotFound):
		return because(codeNotFound, err, "there is nothing with that id (it may be older than what is kept)")
	case errors.Is(err, models.ErrBadQuery):
		return because(codeBadCursor, err, badCursor) // all else has been checked before
	case errors.Is(err, models.ErrBusy):
		return because(codeDatabaseBusy, err, "another program holds the database's lock: end it, or try again when it is done; live alerts go on")
	case errors.Is(err, models.ErrQueryTimeout), errors.Is(err, context.DeadlineExceeded):
		return because(codeTimeout, err, "the database took too long for that; ask for less: a shorter time, a host, a port")
	case errors.As(err, &tooLarge):
		return because(codeTooLarge, err, "the request's body is too large")
	case errors.Is(err, context.Canceled):
		return because(codeClientGone, err, "the client went away")
	}
	return because(codeStore, err, "the database does not answer; capture and live alerts go on, try again in a moment")
}

const badCursor = "cursor: not one that a page of this list with these filters has given as its next; leave it out to start again"

func because(c code, cause error, message string) *apiError {
	return &apiError{code: c, message: message, cause: cause}
}

// problem is an error's body: a problem of RFC 9457, with the code for programs beside it. Its type is about:blank, so that its
// title is that of the status.
type problem struct {
	Type     string      `json:"type"`
	Title    string      `json:"title"`
	Status   int         `json:"status"`
	Detail   string      `json:"detail"`
	Field    string      `json:"field,omitempty"`
	Existing string      `json:"existing,omitempty"`
	Error    errorDetail `json:"error"`
}

type errorDetail struct {
	Code    code   `json:"code"`
	Message string `json:"message"`
}

// abort answers with err and ends the chain of handlers. Who is refused without having shown anything is to connect anew.
func (s *Server) abort(c *gin.Context, err error) {
	e := asAPIError(err)
	if e.code.refuses() || e.code.status() >= http.StatusInternalServerError {
		s.refusals.add(string(e.code), sourceOf(c.Request.RemoteAddr).String(), e.cause)
	}
	if place := seatOf(c.Request); e.code.refuses() && place != nil && !s.places.knows(place) {
		c.Header("Connection", "close")
	}
	writeError(c.Writer, e)
	c.Abort()
}

func writeError(w http.ResponseWriter, e *apiError) {
	h := w.Header()
	switch e.code {
	case codeUnauthorized, codeWrongToken:
		h.Set("WWW-Authenticate", `Bearer realm="netlyra"`)
	case codeWrongTooOften:
		h.Set("Retry-After", strconv.Itoa(e.retry))
	case codeBusy, codeStore, codeTimeout, codeNotReady, codeDatabaseBusy:
		h.Set("Retry-After", "1")
	case codeNoUpgrade:
		h.Set("Upgrade", "websocket")
	case codeEncoded:
		h.Set("Accept-Encoding", "identity")
	default:
	}
	status := e.code.status()
	title := http.StatusText(status)
	if title == "" {
		title = "Client Closed Request"
	}
	write(w, status, "application/problem+json", problem{
		Type: "about:blank", Title: title, Status: status, Detail: e.message, Field: e.field, Existing: e.existing, Error: errorDetail{e.code, e.message},
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	write(w, status, "application/json", v)
}

// write answers with v. encoding/json escapes <, > and &, so that no reader can take a packet's text for HTML.
func write(w http.ResponseWriter, status int, kind string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		// A value of ours that JSON cannot hold (not a number, infinite) is our fault, and must not look like success.
		const detail = "the answer cannot be written as JSON"
		writeError(w, fail(codeInternal, detail))
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that went away is no error of ours
}
