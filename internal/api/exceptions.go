package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"netlyra/internal/models"

	"github.com/gin-gonic/gin"
)

// previewItems is how many of the incidents that an exception would hide are shown; all are counted.
const previewItems = 20

// listExceptions answers with all of them: there are models.MaxExceptions at most, which is one page.
func (s *Server) listExceptions(c *gin.Context) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		s.abort(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	all, err := s.opts.Store.Exceptions(ctx)
	if err != nil {
		s.abort(c, err)
		return
	}
	rows := make([]exceptionRow, len(all))
	for i := range all {
		rows[i] = rowOf(all[i])
	}
	writePage(c, models.Page[exceptionRow]{Items: rows})
}

func (s *Server) getException(c *gin.Context) {
	id, err := s.identified(c, nil)
	if err != nil {
		s.abort(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	e, err := s.opts.Store.Exception(ctx, id)
	s.answer(c, http.StatusOK, rowOf(e), err)
}

// exceptionBody is what a client may say about an exception. A field that is there says something: an empty one is a mistake.
type exceptionBody struct {
	Host     *string `json:"host"`
	Peer     *string `json:"peer"`
	Port     *int64  `json:"port"`
	Proto    *string `json:"proto"`
	Category *string `json:"category"`
	Sensor   *string `json:"sensor"`
	Reason   *string `json:"reason"`
	Expires  *string `json:"expires" null:"never"`
}

func (b *exceptionBody) exception() (models.Exception, error) {
	var e models.Exception
	var category string
	for _, f := range []struct {
		name string
		from *string
		into *string
	}{
		{"host", b.Host, &e.Host},
		{"peer", b.Peer, &e.Peer},
		{"proto", b.Proto, &e.Proto},
		{"category", b.Category, &category},
		{"sensor", b.Sensor, &e.Sensor},
		{"reason", b.Reason, &e.Reason},
	} {
		switch {
		case f.from == nil:
		case *f.from == "":
			return e, &models.FieldError{Field: f.name, Problem: "empty; leave the field out instead"}
		default:
			*f.into = *f.from
		}
	}
	e.Category = models.Category(category)
	if b.Port != nil {
		if err := portNumber(&e.Port)(fmt.Sprint(*b.Port)); err != nil {
			return e, &models.FieldError{Field: "port", Problem: fmt.Sprintf("%d is not accepted: %s", *b.Port, err.Error())}
		}
	}
	if b.Expires == nil {
		return e, nil
	}
	return e, expiry(*b.Expires, &e.Expires)
}

func expiry(text string, into *models.Micros) error {
	if instant(into)(text) != nil {
		return &models.FieldError{Field: "expires", Problem: quote(text) + " is not accepted: use a time in RFC 3339, such as 2026-01-31T13:45:00Z, or null for never"}
	}
	return nil
}

// addException stores an exception.
func (s *Server) addException(c *gin.Context) {
	by, err := s.decider(c)
	var e models.Exception
	if err == nil {
		e, err = s.readException(c)
	}
	if err != nil {
		s.abort(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	if e, err = s.opts.Store.AddException(ctx, e, by); err == nil {
		s.decided(c, by, models.ActionExceptionAdded, e.ID)
		s.store.poke()
		c.Header("Location", "/api/v1/exceptions/"+e.ID)
	}
	s.answer(c, http.StatusCreated, rowOf(e), err)
}

// previewException tells what an exception would hide and stores nothing. It needs no reason yet.
func (s *Server) previewException(c *gin.Context) {
	e, err := s.readException(c)
	if err == nil && e.Reason != "" {
		err = models.NormalizeReason(&e.Reason)
	}
	if err != nil {
		s.abort(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	p, err := s.opts.Store.PreviewException(ctx, e, previewItems)
	s.answer(c, http.StatusOK, previewBody{p, warningsOf(&e)}, err)
}

func (s *Server) readException(c *gin.Context) (models.Exception, error) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		return models.Exception{}, err
	}
	var body exceptionBody
	if err := readBody(c, &body); err != nil {
		return models.Exception{}, err
	}
	return body.exception()
}

// answer writes v, or the error if there is one.
func (s *Server) answer(c *gin.Context, status int, v any, err error) {
	if err != nil {
		s.abort(c, err)
		return
	}
	writeJSON(c.Writer, status, v)
}

// changeException changes the reason, the expiry or both.
func (s *Server) changeException(c *gin.Context) {
	var body struct {
		Reason  *string         `json:"reason"`
		Expires json.RawMessage `json:"expires" null:"never"` // absent is as before
	}
	by, err := s.decider(c)
	id := ""
	if err == nil {
		id, err = s.identified(c, &body)
	}
	if err != nil {
		s.abort(c, err)
		return
	}
	change := models.ExceptionChange{Reason: body.Reason}
	if body.Expires != nil {
		var text *string
		var until models.Micros
		if json.Unmarshal(body.Expires, &text) != nil {
			err = expiry(string(body.Expires), &until)
		} else if text != nil {
			err = expiry(*text, &until)
		}
		change.Expires = &until
	}
	if err == nil && change == (models.ExceptionChange{}) {
		err = fail(codeBadBody, "nothing is to be changed: give reason, expires or both")
	}
	if err != nil {
		s.abort(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	e, err := s.opts.Store.ChangeException(ctx, id, change, by)
	if err == nil {
		s.decided(c, by, models.ActionExceptionChanged, id)
		s.store.poke()
	}
	s.answer(c, http.StatusOK, rowOf(e), err)
}

func (s *Server) removeException(c *gin.Context) {
	by, err := s.decider(c)
	id := ""
	if err == nil {
		id, err = s.identified(c, nil)
	}
	if err != nil {
		s.abort(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	if err := s.opts.Store.RemoveException(ctx, id, by); err != nil {
		s.abort(c, err)
		return
	}
	s.decided(c, by, models.ActionExceptionRemoved, id)
	s.store.poke()
	c.Header("Cache-Control", "no-store")
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
}

// changeAlert records what a person has decided about an alert.
func (s *Server) changeAlert(c *gin.Context) {
	var body struct {
		Triage models.Triage `json:"triage"`
	}
	by, err := s.decider(c)
	id := ""
	if err == nil {
		id, err = s.identified(c, &body)
	}
	if err == nil {
		if bad := oneOf(new(models.Triage), models.Triages())(string(body.Triage)); bad != nil {
			err = &models.FieldError{Field: "triage", Problem: quote(string(body.Triage)) + " is not accepted: " + bad.Error()}
		}
	}
	if err != nil {
		s.abort(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	if err := s.opts.Store.SetTriage(ctx, id, body.Triage, by); err != nil {
		s.abort(c, err)
		return
	}
	s.decided(c, by, models.ActionTriage, id)
	a, err := s.opts.Store.Alert(ctx, id)
	s.answer(c, http.StatusOK, a, err)
}

// identified gives the id that a request is about, and reads its body unless into is nil.
func (s *Server) identified(c *gin.Context, into any) (id string, err error) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		return "", err
	}
	if id = c.Param("id"); len(id) > maxID {
		return "", models.ErrNotFound
	}
	if into != nil {
		err = readBody(c, into)
	}
	return id, err
}

// readBody reads a JSON object strictly: a field that is misspelt must not be without effect. The content type is demanded
// because a form of another site's page cannot send it.
func readBody(c *gin.Context, into any) error {
	kind, _, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	if err != nil || kind != "application/json" {
		return fail(codeNotJSON, "send JSON, with the header Content-Type: application/json")
	}
	if encoding := c.GetHeader("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return fail(codeEncoded, "Content-Encoding "+quote(encoding)+" is not understood here: send the body as it is")
	}
	content, err := io.ReadAll(c.Request.Body)
	if err != nil {
		if e := asAPIError(err); e.code == codeTooLarge {
			return e
		}
		return fail(codeBadBody, "the body has not come whole")
	}
	if !utf8.Valid(content) { // encoding/json would put U+FFFD in the place of what is not (RFC 8259, section 8.1)
		return fail(codeBadBody, "the body must be UTF-8")
	}
	if !bytes.HasPrefix(bytes.TrimLeft(content, " \t\r\n"), []byte("{")) { // null would be taken for an object without fields
		return fail(codeBadBody, "the body must be a JSON object; its fields are: "+strings.Join(fieldNames(into), ", "))
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	err = d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return checkNulls(content, into)
		}
		return fail(codeBadBody, "the body must be one JSON object, and nothing after it")
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return failField(codeBadBody, wrong.Field, fmt.Sprintf("%s: a %s is not accepted", wrong.Field, wrong.Value))
	}
	fields := strings.Join(fieldNames(into), ", ")
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return fail(codeBadBody, fmt.Sprintf("%s: there is no such field here; there are: %s", name, fields))
	}
	return fail(codeBadBody, "the body must be a JSON object; its fields are: "+fields)
}

// checkNulls refuses null but for the fields that say by a tag what it means: encoding/json takes it for an absent field.
func checkNulls(content []byte, into any) error {
	var given map[string]json.RawMessage
	if err := json.Unmarshal(content, &given); err != nil {
		return fail(codeBadBody, "the body must be a JSON object")
	}
	for f := range reflect.TypeOf(into).Elem().Fields() {
		if f.Tag.Get("null") != "" {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			delete(given, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if string(given[name]) == "null" {
			return failField(codeBadBody, name, name+": null is not accepted; leave the field out instead")
		}
	}
	return nil
}

// fieldNames are the JSON names of a struct that into points to.
func fieldNames(into any) []string {
	t := reflect.TypeOf(into).Elem()
	names := make([]string, 0, t.NumField())
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
