package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
)

const (
	cacheAsk     = "no-cache"                            // ask each time whether it has changed
	cacheForever = "public, max-age=31536000, immutable" // the name has the content's hash

	minCompress = 1024 // bytes: below, an answer fits into one packet anyway
)

// asset is an answer that never changes while the program runs. It is compressed once, at the start.
type asset struct {
	kind, cache string
	plain       []byte
	packed      []byte // gzip; nil where that saves less than a tenth
	tag         string // of plain, in quotes
	packedTag   string
}

func newAsset(kind, cache string, plain []byte) (*asset, error) {
	sum := sha256.Sum256(plain)
	tag := hex.EncodeToString(sum[:12])
	a := &asset{kind: kind, cache: cache, plain: plain, tag: `"` + tag + `"`, packedTag: `"` + tag + `-gzip"`}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if b.Len() < len(plain)/10*9 {
		a.packed = b.Bytes()
	}
	return a, nil
}

// serve answers with the asset in the encoding that the client takes, or with 304 if the client has it (RFC 9110, section 13.1.2).
func (a *asset) serve(c *gin.Context) {
	body, tag := a.plain, a.tag
	h := c.Writer.Header()
	if a.packed != nil && takesGzip(c.Request) {
		body, tag = a.packed, a.packedTag
	}
	h.Set("Cache-Control", a.cache)
	h.Set("ETag", tag)
	if hasTag(c.Request.Header.Values("If-None-Match"), a.tag, a.packedTag) {
		c.Status(http.StatusNotModified)
		c.Writer.WriteHeaderNow()
		return
	}
	h.Set(gzhttp.HeaderNoCompression, "1") // for the layer above, which takes it out again
	if tag == a.packedTag {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Data(http.StatusOK, a.kind, body)
}

// takesGzip reads Accept-Encoding as far as gzip goes: named, or meant by *, and not with a weight of 0.
func takesGzip(r *http.Request) bool {
	named, taken, others := false, false, false
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		coding, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		weight := 1.0
		if _, q, ok := strings.Cut(params, "="); ok {
			weight, _ = strconv.ParseFloat(strings.TrimSpace(q), 64) // what is no number is 0: not taken
		}
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip":
			named, taken = true, weight > 0
		case "*":
			others = weight > 0
		}
	}
	return taken || !named && others
}

// hasTag says whether If-None-Match names one of the tags; weak and strong compare alike there.
func hasTag(header []string, tags ...string) bool {
	for part := range strings.SplitSeq(strings.Join(header, ","), ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == "*" || slices.Contains(tags, part) {
			return true
		}
	}
	return false
}

// loadPage reads all files of the page; a nil fs has none.
func loadPage(files fs.FS) (map[string]*asset, error) {
	all := map[string]*asset{}
	if files == nil {
		return all, nil
	}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		kind := mime.TypeByExtension(path.Ext(name))
		if kind == "" {
			kind = "application/octet-stream"
		}
		cache := cacheAsk
		if strings.HasPrefix(name, "assets/") {
			cache = cacheForever
		}
		all[name], err = newAsset(kind, cache, b)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("api: the page: %w", err)
	}
	return all, nil
}

// compress packs what is served anew each time, unless it is short or packed already, and says Vary of everything. The WebSocket is left alone: it has its own.
func compress(next http.Handler) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(minCompress), gzhttp.EnableZstd(false))
	if err != nil {
		return nil, fmt.Errorf("api: compression: %w", err)
	}
	packed := wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			next.ServeHTTP(w, r)
			return
		}
		packed(w, r)
	}), nil
}
