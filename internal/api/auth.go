package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	sessionCookie = "netlyra_session"
	sessionTime   = 12 * time.Hour

	// tokenProtocol before the token is a WebSocket subprotocol: the only header that a page can set there.
	tokenProtocol = "netlyra.token."
)

// authenticator knows the token by its hash only. A session is proved by its end and a MAC of it under the token, so that
// sessions survive a restart, and end with the token.
type authenticator struct {
	on   bool
	hash [sha256.Size]byte
}

func newAuthenticator(token string) authenticator {
	return authenticator{on: token != "", hash: sha256.Sum256([]byte(token))}
}

// token compares in constant time; hashing first hides the length too.
func (a authenticator) token(given string) bool {
	h := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(h[:], a.hash[:]) == 1
}

// allows says whether a request carries the token or a session.
func (a authenticator) allows(r *http.Request, now time.Time) bool {
	if !a.on {
		return true
	}
	if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return a.token(given)
	}
	if c, err := r.Cookie(sessionCookie); err == nil && a.session(c.Value, now) {
		return true
	}
	given, ok := strings.CutPrefix(offeredProtocol(r), tokenProtocol)
	return ok && a.token(given)
}

// offeredProtocol is the WebSocket subprotocol that carries the token, "" for none.
func offeredProtocol(r *http.Request) string {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); strings.HasPrefix(p, tokenProtocol) {
				return p
			}
		}
	}
	return ""
}

// newSession is a cookie's value that is good until end.
func (a authenticator) newSession(end time.Time) string {
	text := strconv.FormatInt(end.Unix(), 10)
	return text + "." + a.mac(text)
}

func (a authenticator) mac(text string) string {
	m := hmac.New(sha256.New, a.hash[:])
	m.Write([]byte("netlyra session " + text))
	return hex.EncodeToString(m.Sum(nil))
}

func (a authenticator) session(value string, now time.Time) bool {
	text, mac, _ := strings.Cut(value, ".")
	end, err := strconv.ParseInt(text, 10, 64)
	return err == nil && now.Unix() < end && hmac.Equal([]byte(mac), []byte(a.mac(text)))
}

// checkAuth answers 401 to who has no token, where one is demanded.
func (s *Server) checkAuth(c *gin.Context) {
	if !s.auth.allows(c.Request, time.Now()) {
		s.abort(c, fail(codeUnauthorized,
			"a token is needed: send it as Authorization: Bearer TOKEN, or once to POST /api/v1/session for a cookie"))
	}
}

// openSession turns the token into a cookie, which a page needs: it can send no header with a WebSocket.
func (s *Server) openSession(c *gin.Context) {
	var body struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(c.Request.Body).Decode(&body); err != nil {
		s.abort(c, badBody(err))
		return
	}
	if s.auth.on && !s.auth.token(body.Token) {
		s.abort(c, fail(codeUnauthorized, "that is not the token this server was started with"))
		return
	}
	s.setCookie(c, s.auth.newSession(time.Now().Add(sessionTime)), int(sessionTime/time.Second))
}

func badBody(err error) error {
	if e := asAPIError(err); e.code == codeTooLarge {
		return e
	}
	return fail(codeBadBody, `the body must be JSON of the form {"token":"…"}`)
}

// closeSession makes the browser forget.
func (s *Server) closeSession(c *gin.Context) { s.setCookie(c, "", -1) }

func (s *Server) setCookie(c *gin.Context, value string, maxAge int) {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.fingerprint != "",
	})
	c.Header("Cache-Control", "no-store")
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
}
