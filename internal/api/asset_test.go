package api

import (
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

func unpack(t *testing.T, s string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnswersAreCompressed(t *testing.T) {
	script := strings.Repeat("export const a = 1;\n", 500)
	f := start(t, func(o *Options) {
		o.UI = fstest.MapFS{"index.html": {Data: []byte(strings.Repeat("<p>page</p>\n", 300))}, "assets/app-3f2a.js": {Data: []byte(script)}}
	})
	for _, c := range []struct {
		path string
		part int // the answer shrinks at least to one part of so many
	}{
		{"/", 5},
		{"/assets/app-3f2a.js", 5},
		{"/openapi.yaml", 3},
		{"/api/v1/asyncapi.yaml", 2},
		{"/api/v1/connections?limit=100", 8},
		{"/api/v1/alerts?limit=100", 8},
		{"/metrics", 4},
	} {
		t.Run(c.path, func(t *testing.T) {
			plain, packed := f.get(t, c.path, "Accept-Encoding", "identity"), f.get(t, c.path, "Accept-Encoding", "br, gzip;q=0.5")
			if plain.status != 200 || plain.header.Get("Content-Encoding") != "" {
				t.Fatalf("asked for none: %d %v", plain.status, plain.header)
			}
			if packed.header.Get("Content-Encoding") != "gzip" || packed.header.Get("Vary") != "Accept-Encoding" || packed.header.Get("No-Gzip-Compression") != "" {
				t.Fatalf("%d %v", packed.status, packed.header)
			}
			if plain.header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("without encoding: Vary %q", plain.header.Get("Vary"))
			}
			if len(packed.body)*c.part > len(plain.body) {
				t.Errorf("%d bytes instead of %d", len(packed.body), len(plain.body))
			}
			if got := unpack(t, packed.body); c.path != "/metrics" && got != plain.body {
				t.Error("another text")
			}
			none := f.get(t, c.path, "Accept-Encoding", "gzip;q=0, *")
			if none.header.Get("Content-Encoding") != "" {
				t.Errorf("gzip refused: %v", none.header)
			}
		})
	}
}

func TestShortAnswersAreNotCompressed(t *testing.T) {
	f := start(t, func(o *Options) { o.UI = fstest.MapFS{"icon.svg": {Data: []byte("<svg/>")}} })
	for _, path := range []string{"/api/v1/health", "/api/v1/alerts/no-such", "/icon.svg"} {
		if a := f.get(t, path, "Accept-Encoding", "gzip"); a.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}

func TestWhatAClientHasIsNotSentAgain(t *testing.T) {
	script := strings.Repeat("export const a = 1;\n", 500)
	f := start(t, func(o *Options) {
		o.UI = fstest.MapFS{"index.html": {Data: []byte(script)}, "assets/app-3f2a.js": {Data: []byte(script + script)}, "icon.svg": {Data: []byte("<svg/>")}}
	})
	for _, path := range []string{"/", "/assets/app-3f2a.js", "/icon.svg", "/openapi.yaml"} {
		plain, packed := f.get(t, path, "Accept-Encoding", "identity"), f.get(t, path, "Accept-Encoding", "gzip")
		tag, packedTag := plain.header.Get("ETag"), packed.header.Get("ETag")
		if tag == "" || packed.header.Get("Content-Encoding") == "gzip" && packedTag == tag {
			t.Errorf("%s: tags %s and %s", path, tag, packedTag)
		}
		if got := packed.header.Get("Content-Length"); got != strconv.Itoa(len(packed.body)) {
			t.Errorf("%s: length %s of %d", path, got, len(packed.body))
		}
		for _, have := range []string{tag, packedTag, "W/" + tag, `"other", ` + packedTag, "*"} {
			a := f.get(t, path, "Accept-Encoding", "gzip", "If-None-Match", have)
			if a.status != http.StatusNotModified || a.body != "" || a.header.Get("ETag") != packedTag || a.header.Get("Cache-Control") == "" {
				t.Errorf("%s has %s: %d %v", path, have, a.status, a.header)
			}
		}
		if a := f.get(t, path, "Accept-Encoding", "identity", "If-None-Match", `"other"`); a.status != 200 || a.body != plain.body {
			t.Errorf("%s has another: %d", path, a.status)
		}
		head := f.do(t, http.MethodHead, path, "", "Accept-Encoding", "gzip")
		if head.status != 200 || head.body != "" || head.header.Get("Content-Length") != strconv.Itoa(len(packed.body)) {
			t.Errorf("HEAD %s: %d %v", path, head.status, head.header)
		}
	}
}
