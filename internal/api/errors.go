package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"netlyra/internal/models"

	"github.com/gin-gonic/gin"
)

// code names a kind of error for programs. status gives each its HTTP status.
type code string

const (
	codeBadParameter code = "bad_parameter"
	codeBadCursor    code = "bad_cursor"
	codeBadBody      code = "bad_body"
	codeUnauthorized code = "unauthorized"
	codeBadOrigin    code = "origin_not_allowed"
	codeNotFound     code = "not_found"
	codeNoRoute      code = "no_such_route"
	codeBadMethod    code = "method_not_allowed"
	codeTooLarge     code = "body_too_large"
	codeBadHost      code = "host_not_allowed"
	codeNoUpgrade    code = "websocket_required"
	codeNotJSON      code = "json_required"
	codeLimit        code = "limit_reached"
	codeBusy         code = "busy"
	codeStore        code = "store_unavailable"
	codeTimeout      code = "query_timeout"
	codeInternal     code = "internal"
	statusClientGone      = 499 // nginx's: nobody reads it, but the log and the metrics tell it from an error
	codeClientGone   code = "client_gone"
)

// status is the only place that chooses one.
func (c code) status() int {
	switch c {
	case codeBadParameter, codeBadCursor, codeBadBody:
		return http.StatusBadRequest
	case codeUnauthorized:
		return http.StatusUnauthorized
	case codeBadOrigin:
		return http.StatusForbidden
	case codeNotFound, codeNoRoute:
		return http.StatusNotFound
	case codeBadMethod:
		return http.StatusMethodNotAllowed
	case codeLimit:
		return http.StatusConflict
	case codeNotJSON:
		return http.StatusUnsupportedMediaType
	case codeTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeBadHost:
		return http.StatusMisdirectedRequest
	case codeNoUpgrade:
		return http.StatusUpgradeRequired
	case codeBusy, codeStore, codeTimeout:
		return http.StatusServiceUnavailable
	case codeClientGone:
		return statusClientGone
	case codeInternal:
	}
	return http.StatusInternalServerError
}

// apiError is an error as a client sees it; message is for people and holds nothing of the inside.
type apiError struct {
	code    code
	message string
	cause   error // logged, not sent
}

func (e *apiError) Error() string { return "api: " + string(e.code) + ": " + e.message }

func (e *apiError) Unwrap() error { return e.cause }

func fail(c code, message string) *apiError { return &apiError{code: c, message: message} }

// asAPIError gives every error of the store or a handler its code.
func asAPIError(err error) *apiError {
	var e *apiError
	var tooLarge *http.MaxBytesError
	var field *models.FieldError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &field):
		return &apiError{codeBadBody, field.Error(), err}
	case errors.Is(err, models.ErrTooManyExceptions):
		return &apiError{codeLimit, fmt.Sprintf("there are %d exceptions already: remove some that are not needed any more", models.MaxExceptions), err}
	case errors.Is(err, models.ErrNotFound):
		return &apiError{codeNotFound, "there is nothing with that id (it may be older than what is kept)", err}
	case errors.Is(err, models.ErrBadQuery):
		// All else has been checked before, so that it is the cursor that the store did not take.
		return &apiError{codeBadCursor, "cursor: not one that a page of this list with these filters has given as its next; leave it out to start again", err}
	case errors.Is(err, models.ErrQueryTimeout), errors.Is(err, context.DeadlineExceeded):
		return &apiError{codeTimeout, "the database took too long for that; ask for less: a shorter time, a host, a port", err}
	case errors.As(err, &tooLarge):
		return &apiError{codeTooLarge, "the request's body is too large", err}
	case errors.Is(err, context.Canceled):
		return &apiError{codeClientGone, "the client went away", err}
	}
	return &apiError{codeStore, "the database does not answer; capture and live alerts go on, try again in a moment", err}
}

type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code    code   `json:"code"`
	Message string `json:"message"`
}

// abort answers with err and ends the chain of handlers.
func (s *Server) abort(c *gin.Context, err error) {
	e := asAPIError(err)
	c.Set(errorCodeKey, e.code)
	if e.code.status() >= http.StatusInternalServerError {
		s.log.LogAttrs(c, slog.LevelWarn, "request failed", slog.String("route", c.FullPath()),
			slog.String("code", string(e.code)), slog.Any("error", e.cause))
	}
	writeError(c.Writer, e)
	c.Abort()
}

func writeError(w http.ResponseWriter, e *apiError) {
	switch e.code {
	case codeUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="netlyra"`)
	case codeBusy, codeStore:
		w.Header().Set("Retry-After", "1")
	case codeNoUpgrade:
		w.Header().Set("Upgrade", "websocket")
	default:
	}
	writeJSON(w, e.code.status(), errorBody{errorDetail{e.code, e.message}})
}

// writeJSON answers with v. encoding/json escapes <, > and &, so that no reader can take a packet's text for HTML.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		// A value of ours that JSON cannot hold (not a number, infinite) is our fault, and must not look like success.
		b, status = []byte(`{"error":{"code":"internal","message":"the answer cannot be written as JSON"}}`), http.StatusInternalServerError
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that went away is no error of ours
}
