package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"netlyra/internal/config"
)

// tokens reads the secrets that clients must show: of flags, of files, or of systemd's credentials.
func (w *served) tokens() (token, read string, err error) {
	c := w.settings
	token = c.Token
	var problems [3]error
	if c.TokenFile != "" {
		token, problems[0] = secret("--token-file", c.TokenFile, w.warn)
	}
	if dir := os.Getenv(config.Credentials); token == "" && dir != "" {
		token, problems[1] = secret(config.Credentials, filepath.Join(dir, "netlyra.token"), w.warn)
		if errors.Is(problems[1], fs.ErrNotExist) {
			problems[1] = nil
		}
	}
	if c.ReadTokenFile != "" {
		read, problems[2] = secret("--read-token-file", c.ReadTokenFile, w.warn)
	}
	return token, read, errors.Join(problems[:]...)
}

// secret is the first line of a file. A file that others can read is warned of.
func secret(flag, path string, warn func(text string)) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", &config.UsageError{Err: fmt.Errorf("%s: %w", flag, err)}
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		warn(fmt.Sprintf("every user of this machine can read %s of %s: chmod o-r %s", path, flag, path))
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", &config.UsageError{Err: fmt.Errorf("%s %s: the first line is empty: write the secret there", flag, path)}
	}
	return line, nil
}
