package api

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"

	"netlyra/internal/models"

	"github.com/gin-gonic/gin"
)

// bindBytes of the filters' hash are enough against mistakes, which is what they are for.
const bindBytes = 6

// bind ties the cursors of a list to its filters: with others they would give pages that belong to no list. query is the list's
// query with Limit and Cursor empty, so that a page may be larger than the one before.
func bind(list string, query any) [bindBytes]byte {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %+v", list, query))
	return [bindBytes]byte(h[:bindBytes])
}

// give is the cursor that a client gets for what the store, or the live table, has given.
func give(b [bindBytes]byte, c models.Cursor) models.Cursor {
	if c == "" {
		return ""
	}
	return models.Cursor(base64.RawURLEncoding.EncodeToString(append(b[:], c...)))
}

// taken is the inner cursor of what a client has given back.
func taken(b [bindBytes]byte, c models.Cursor) (models.Cursor, error) {
	if c == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(c))
	if err != nil || len(raw) <= bindBytes || [bindBytes]byte(raw) != b {
		return "", failField(codeBadCursor, "cursor", badCursor)
	}
	return models.Cursor(raw[bindBytes:]), nil
}

// writePage answers with a list; an empty one is [], not null, whoever made it. The page that follows is in a Link header
// (RFC 8288) as well.
func writePage[T any](c *gin.Context, p models.Page[T]) {
	if p.Items == nil {
		p.Items = []T{}
	}
	if p.Next != "" {
		q, _ := url.ParseQuery(c.Request.URL.RawQuery) // it has been read before
		q.Set("cursor", string(p.Next))
		c.Header("Link", "<"+c.Request.URL.Path+"?"+q.Encode()+`>; rel="next"`)
	}
	writeJSON(c.Writer, http.StatusOK, p)
}
