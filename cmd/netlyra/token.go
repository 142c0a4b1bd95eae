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
func tokens(c *config.Run) (token, read string, err error) {
	if c.Token != "" && c.TokenFile != "" {
		return "", "", &config.UsageError{Err: errors.New("--token and --token-file: give one of them")}
	}
	token = c.Token
	if c.TokenFile != "" {
		if token, err = secret("--token-file", c.TokenFile); err != nil {
			return "", "", err
		}
	}
	if dir := os.Getenv(config.Credentials); token == "" && dir != "" {
		token, err = secret(config.Credentials, filepath.Join(dir, "netlyra.token"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", "", err
		}
	}
	if c.ReadTokenFile != "" {
		if read, err = secret("--read-token-file", c.ReadTokenFile); err != nil {
			return "", "", err
		}
	}
	return token, read, nil
}

// secret is the first line of a file.
func secret(flag, path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", &config.UsageError{Err: fmt.Errorf("%s: %w", flag, err)}
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", &config.UsageError{Err: fmt.Errorf("%s %s: the first line is empty: write the secret there", flag, path)}
	}
	return line, nil
}
