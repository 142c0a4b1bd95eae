package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"netlyra/internal/config"
)

// ask makes a request of the running program's API and reads the answer into the last argument, unless that is nil.
func (p *program) ask(ctx context.Context, c *config.Remote, method, path string, body, into any) error {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return err
		}
	}
	base := strings.TrimSuffix(c.API, "/")
	request, err := http.NewRequestWithContext(ctx, method, base+"/api/v1/"+path, &content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	token := c.Token
	if c.TokenFile != "" {
		if token, err = secret("--token-file", c.TokenFile, p.warn); err != nil {
			return err
		}
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client, err := newClient(c)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return unreachable(base, err)
	}
	defer func() { _ = response.Body.Close() }() // it has been read
	const most = 64 << 20
	raw, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return fmt.Errorf("%s: %w", base, err)
	}
	return understand(base, response, raw, into)
}

// newClient trusts the authorities that the system trusts, and the certificate that is named.
func newClient(c *config.Remote) (*http.Client, error) {
	client := &http.Client{Timeout: time.Minute}
	if c.TLSCert == "" {
		return client, nil
	}
	pem, err := os.ReadFile(c.TLSCert)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-cert %s: there is no certificate in it", c.TLSCert)
	}
	client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	return client, nil
}

func unreachable(base string, err error) error {
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return fmt.Errorf("%s: its certificate is signed by nobody known here: name it with --tls-cert (netlyra makes its own in "+
			"the folder tls/ beside the database): %w", base, err)
	}
	return fmt.Errorf("no netlyra answers at %s: the running program is asked; start it with netlyra run, or give its address with --api: %w", base, err)
}

// refusal is the running program's answer to what it does not do.
type refusal struct {
	code     string // of docs/api.md
	message  string
	existing string // the id of what is there already; "" for none
}

func (r *refusal) Error() string { return r.message }

// understand reads an answer; one that says what is wrong is a mistake of whoever asked.
func understand(base string, response *http.Response, raw []byte, into any) error {
	if response.StatusCode >= http.StatusBadRequest {
		var answer struct {
			Existing string
			Error    struct{ Code, Message string }
		}
		if json.Unmarshal(raw, &answer) != nil || answer.Error.Message == "" {
			return fmt.Errorf("%s: answers %s, which is not what netlyra says: is --api right?", base, response.Status)
		}
		err := &refusal{code: answer.Error.Code, message: plain(answer.Error.Message), existing: answer.Existing}
		switch response.StatusCode {
		case http.StatusUnauthorized:
			return &config.UsageError{Err: fmt.Errorf("%s demands its token: give it with --token-file, or --token or NETLYRA_TOKEN", base)}
		case http.StatusBadRequest:
			return &config.UsageError{Err: err}
		}
		return err
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: answers what netlyra does not say: is --api right? %w", base, err)
	}
	return nil
}
