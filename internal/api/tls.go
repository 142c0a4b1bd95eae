package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	certName = "netlyra-cert.pem"
	keyName  = "netlyra-key.pem"

	certTime  = 2 * 365 * 24 * time.Hour
	certRenew = 30 * 24 * time.Hour // before its end
)

// certificate reads the given pair, or the own one, made first where there is none that is good for the names and for a
// month more.
func (t TLS) certificate(names []string, now time.Time) (tls.Certificate, error) {
	cert, good, err := t.load(names, now)
	if err != nil || good {
		return cert, err
	}
	if err := makeCertificate(t.Dir, names, now); err != nil {
		return cert, fmt.Errorf("api: make an own certificate in %s: %w", t.Dir, err)
	}
	return tls.LoadX509KeyPair(filepath.Join(t.Dir, certName), filepath.Join(t.Dir, keyName))
}

// check says what certificate would, and whether it would make one, without making it.
func (t TLS) check(names []string, now time.Time) (makes bool, err error) {
	if t.CertFile == "" && t.Dir == "" { // it is known only later where
		return true, nil
	}
	_, good, err := t.load(names, now)
	return err == nil && !good, err
}

// load reads the given pair or the own one; not good: a new one of our own is to be made.
func (t TLS) load(names []string, now time.Time) (cert tls.Certificate, good bool, err error) {
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return cert, false, fmt.Errorf("api: certificate %s with key %s: %w: --tls-cert and --tls-key must name files that belong together", t.CertFile, t.KeyFile, err)
		}
		return cert, true, nil
	}
	if t.Dir == "" {
		return cert, false, errors.New("api: TLS needs a certificate and its key, or a directory to keep an own one in")
	}
	certFile, keyFile := filepath.Join(t.Dir, certName), filepath.Join(t.Dir, keyName)
	cert, err = tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cert, false, fmt.Errorf("api: own certificate %s: %w; delete it and its key to have new ones made", certFile, err)
	}
	return cert, err == nil && goodFor(cert.Leaf, names, now), nil
}

// certKeeper holds the certificate in use, and reads it again when its files have changed.
type certKeeper struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	changed [2]fileState // of the files that cert was read from, or that could not be read
	looked  time.Time
}

// fileState tells one content of a file from the next.
type fileState struct {
	modified time.Time
	size     int64
}

// certEvery is how often the files are looked at, at most.
const certEvery = time.Second

func keepCertificate(t TLS, names []string, log *slog.Logger) (*certKeeper, error) {
	k := &certKeeper{certFile: t.CertFile, keyFile: t.KeyFile, log: log}
	if t.CertFile == "" {
		k.certFile, k.keyFile = filepath.Join(t.Dir, certName), filepath.Join(t.Dir, keyName)
	}
	cert, err := t.certificate(names, time.Now())
	if err != nil {
		return nil, err
	}
	k.cert, k.changed, k.looked = &cert, k.state(), time.Now()
	return k, nil
}

func (k *certKeeper) state() (all [2]fileState) {
	for i, path := range []string{k.certFile, k.keyFile} {
		if info, err := os.Stat(path); err == nil { // what is not there has no state, and is not read
			all[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return all
}

// get is tls.Config.GetCertificate. Files that do not fit together are left alone until they change again: a new certificate is
// often there before its key.
func (k *certKeeper) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if now.Sub(k.looked) < certEvery {
		return k.cert, nil
	}
	k.looked = now
	state := k.state()
	if state == k.changed || state[0] == (fileState{}) || state[1] == (fileState{}) {
		return k.cert, nil
	}
	k.changed = state
	cert, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		k.log.LogAttrs(context.Background(), slog.LevelWarn, "the certificate has changed but cannot be read; the one before stays in use",
			slog.String("file", k.certFile), slog.Any("error", err))
		return k.cert, nil
	}
	k.cert = &cert
	k.log.LogAttrs(context.Background(), slog.LevelInfo, "the certificate has changed",
		slog.String("file", k.certFile), slog.String("certificate_sha256", fingerprint(cert)))
	return k.cert, nil
}

func (k *certKeeper) fingerprint() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fingerprint(*k.cert)
}

func goodFor(leaf *x509.Certificate, names []string, now time.Time) bool {
	if now.Before(leaf.NotBefore) || now.Add(certRenew).After(leaf.NotAfter) {
		return false
	}
	for _, n := range names {
		if leaf.VerifyHostname(n) != nil {
			return false
		}
	}
	return true
}

// makeCertificate writes a self-signed ECDSA P-256 certificate and its key, which only the owner may read.
func makeCertificate(dir string, names []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template, err := certTemplate(names, now)
	if err != nil {
		return err
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, keyName), "PRIVATE KEY", secret); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, certName), "CERTIFICATE", cert)
}

func certTemplate(names []string, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "NetLyra"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certTime), // an hour for clocks that disagree
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	return c, nil
}

// writePEM replaces the file in one step, so that a crash leaves the old one or the new one.
func writePEM(path, kind string, der []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".netlyra-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // there only if the rename was not reached
	if err := pem.Encode(tmp, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// fingerprint is the certificate's SHA-256 as browsers show it.
func fingerprint(cert tls.Certificate) string {
	sum := sha256.Sum256(cert.Certificate[0])
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}
