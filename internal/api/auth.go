package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"
)

const (
	sessionCookie = "netlyra_session"
	sessionTime   = 12 * time.Hour

	// tokenProtocol before the token is a WebSocket subprotocol: the only header that a page can set there.
	tokenProtocol = "netlyra.token."

	minToken      = 16 // characters
	minTokenKinds = 8  // different ones

	// An address may be wrong wrongTokens times at once, and then once in wrongTokenEvery.
	wrongTokens     = 10
	wrongTokenEvery = 2 * time.Second
	// maxGuessers bounds the addresses that are remembered for it; further ones share one allowance.
	maxGuessers = 4096
)

// right is what who asks may do.
type right int

const (
	mayNothing right = iota
	mayRead
	mayDecide
)

// CheckToken says what is wrong with a token that somebody has thought of; nil: nothing that can be seen.
func CheckToken(token string) error {
	if n := len(token); n < minToken {
		return fmt.Errorf("it has %d characters: use at least %d", n, minToken)
	}
	kinds := map[rune]bool{}
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return errors.New("it has characters that a header cannot carry: use visible ASCII characters")
		}
		kinds[r] = true
	}
	if len(kinds) < minTokenKinds {
		return fmt.Errorf("it has %d different characters, which can be guessed: use at least %d", len(kinds), minTokenKinds)
	}
	return nil
}

// authenticator knows the tokens by their hash only. A session is proved by its end, its right and a MAC of both. The key of the
// MAC is random and new at each start: who sees a cookie cannot try tokens against it, and sessions end with the program.
type authenticator struct {
	on, readOn bool
	full, read [sha256.Size]byte
	key        [32]byte
}

func newAuthenticator(token, readToken string) authenticator {
	a := authenticator{
		on: token != "", readOn: readToken != "",
		full: sha256.Sum256([]byte(token)), read: sha256.Sum256([]byte(readToken)),
	}
	rand.Read(a.key[:])
	return a
}

// token compares in constant time; hashing first hides the length too.
func (a *authenticator) token(given string) right {
	h := sha256.Sum256([]byte(given))
	full := subtle.ConstantTimeCompare(h[:], a.full[:]) == 1
	read := subtle.ConstantTimeCompare(h[:], a.read[:]) == 1
	switch {
	case full:
		return mayDecide
	case read && a.readOn:
		return mayRead
	}
	return mayNothing
}

// shownToken is the token that a request carries, in the header that is there for it or as a WebSocket subprotocol.
func shownToken(r *http.Request) (token string, shown bool) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, given, _ := strings.Cut(h, " ")
		if strings.EqualFold(scheme, "bearer") { // RFC 9110, section 11.1: in any letter case
			return strings.TrimLeft(given, " "), true
		}
		return "", true
	}
	return strings.CutPrefix(offeredProtocol(r), tokenProtocol)
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
func (a *authenticator) newSession(end time.Time, may right) string {
	text := strconv.FormatInt(end.Unix(), 10) + "." + strconv.Itoa(int(may))
	return text + "." + a.mac(text)
}

func (a *authenticator) mac(text string) string {
	m := hmac.New(sha256.New, a.key[:])
	m.Write([]byte("netlyra session " + text))
	return hex.EncodeToString(m.Sum(nil))
}

// session is the right of a request's cookie.
func (a *authenticator) session(r *http.Request, now time.Time) right {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return mayNothing
	}
	i := strings.LastIndexByte(c.Value, '.')
	if i < 0 || !hmac.Equal([]byte(c.Value[i+1:]), []byte(a.mac(c.Value[:i]))) {
		return mayNothing
	}
	endText, mayText, _ := strings.Cut(c.Value[:i], ".")
	end, err := strconv.ParseInt(endText, 10, 64)
	may, err1 := strconv.Atoi(mayText)
	if err != nil || err1 != nil || now.Unix() >= end {
		return mayNothing
	}
	return right(may)
}

// guesses bounds how often an address may show a wrong token.
type guesses struct {
	mu     sync.Mutex
	of     map[netip.Addr]*rate.Limiter
	others *rate.Limiter
}

func newGuesses() *guesses {
	return &guesses{of: map[netip.Addr]*rate.Limiter{}, others: rate.NewLimiter(rate.Every(wrongTokenEvery), wrongTokens)}
}

// limiter is that of an address; add makes one if there is none.
func (g *guesses) limiter(from netip.Addr, now time.Time, add bool) *rate.Limiter {
	l := g.of[from]
	if l != nil || !add {
		return l
	}
	if len(g.of) >= maxGuessers {
		for a, other := range g.of {
			if other.TokensAt(now) >= wrongTokens {
				delete(g.of, a)
			}
		}
	}
	if len(g.of) >= maxGuessers {
		return g.others
	}
	l = rate.NewLimiter(rate.Every(wrongTokenEvery), wrongTokens)
	g.of[from] = l
	return l
}

// wait is how many seconds an address has to wait before it may show a token again; 0: it need not.
func (g *guesses) wait(from netip.Addr, now time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.limiter(from, now, false)
	if l == nil && len(g.of) >= maxGuessers {
		l = g.others
	}
	if l == nil {
		return 0
	}
	if left := l.TokensAt(now); left < 1 {
		return max(1, int(math.Ceil((1-left)*wrongTokenEvery.Seconds())))
	}
	return 0
}

func (g *guesses) wrong(from netip.Addr, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limiter(from, now, true).AllowN(now, 1)
}

// try takes a token that r's address shows. An address that was wrong too often is not heard, right or wrong, unless this
// connection has shown the token before.
func (s *Server) try(r *http.Request, given string) (right, *apiError) {
	from, now := sourceOf(r.RemoteAddr), time.Now()
	place := seatOf(r)
	if known := place != nil && s.places.knows(place); !known {
		if wait := s.guesses.wait(from, now); wait > 0 {
			return mayNothing, &apiError{
				code: codeWrongTooOften, retry: wait,
				message: fmt.Sprintf("too many wrong tokens came from this address: try again in %d s", wait),
			}
		}
	}
	may := s.auth.token(given)
	if may == mayNothing {
		s.guesses.wrong(from, now)
		return mayNothing, fail(codeWrongToken, "that is not a token of this server")
	}
	return may, nil
}

// enter says what r's sender may do, and gives its connection a place.
func (s *Server) enter(r *http.Request) (right, *apiError) {
	may := mayDecide // as far as tokens are concerned
	if s.auth.on {
		if may = s.auth.session(r, time.Now()); may == mayNothing {
			given, shown := shownToken(r)
			if !shown {
				return mayNothing, fail(codeUnauthorized,
					"a token is needed: send it as Authorization: Bearer TOKEN, or once to POST /api/v1/session for a cookie")
			}
			var e *apiError
			if may, e = s.try(r, given); e != nil {
				return mayNothing, e
			}
		}
	}
	if !s.seatGuest(r) {
		return mayNothing, tooManyConnections()
	}
	return may, nil
}

func tooManyConnections() *apiError {
	return fail(codeBusy, "there are too many connections; close some or try again in a second")
}

// seatGuest gives r's connection a place; false: there is none left.
func (s *Server) seatGuest(r *http.Request) bool {
	place := seatOf(r)
	return place == nil || s.places.welcome(place)
}

// checkAuth answers 401 to who has no token, where one is demanded.
func (s *Server) checkAuth(c *gin.Context) {
	may, err := s.enter(c.Request)
	if err == nil && may == mayRead && c.Request.Method != http.MethodGet {
		err = fail(codeNotPermitted, "this token is for reading only: decisions need the full one")
	}
	if err != nil {
		s.abort(c, err)
	}
}

// openSession turns a token into a cookie, which a page needs: it can send no header with a WebSocket.
func (s *Server) openSession(c *gin.Context) {
	var body struct {
		Token *string `json:"token"`
	}
	err := parseQuery(c.Request.URL.RawQuery, nil)
	if err == nil {
		err = readBody(c, &body)
	}
	if err == nil && body.Token == nil {
		err = failField(codeBadBody, "token", `token: missing; the body must be JSON of the form {"token":"…"}`)
	}
	may := mayDecide
	if err == nil && s.auth.on {
		var e *apiError
		if may, e = s.try(c.Request, *body.Token); e != nil {
			err = e
		}
	}
	if err == nil && !s.seatGuest(c.Request) {
		err = tooManyConnections()
	}
	if err != nil {
		s.abort(c, err)
		return
	}
	s.setCookie(c, s.auth.newSession(time.Now().Add(sessionTime), may), int(sessionTime/time.Second))
}

// closeSession makes the browser forget.
func (s *Server) closeSession(c *gin.Context) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		s.abort(c, err)
		return
	}
	s.setCookie(c, "", -1)
}

func (s *Server) setCookie(c *gin.Context, value string, maxAge int) {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.encrypted(),
	})
	c.Header("Cache-Control", "no-store")
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
}
