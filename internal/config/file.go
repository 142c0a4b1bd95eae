package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/joho/godotenv"
)

// MachineFile is the file of settings of a machine, read where there is neither --config nor .env.
const MachineFile = "/etc/netlyra/netlyra.conf"

// FileOff is the value of --config that reads no file.
const FileOff = "off"

// setting is a variable's value and where it comes from.
type setting struct {
	value  string
	origin origin
}

// settings are all variables that are set: the environment's, and below them those of the file.
type settings struct {
	vars    map[string]setting
	warning string // about the file
	locked  error  // the machine's file cannot be read by this user
}

// readSettings reads the environment and the one file of settings that holds. args are looked at for --config only.
func readSettings(in Input) (*settings, error) {
	s := &settings{vars: map[string]setting{}}
	for _, v := range in.Environ {
		if name, value, ok := strings.Cut(v, "="); ok && strings.HasPrefix(name, EnvPrefix) {
			s.vars[name] = setting{value, fromEnvironment}
		}
	}
	path := configFlag(in.Args)
	if path == "" {
		path = s.vars[Variable("config")].value
	}
	switch path {
	case FileOff:
		return s, nil
	case "":
		return s, s.readDefault(in)
	}
	err := s.read(kong.ExpandPath(path), "chown or chmod it")
	if err != nil {
		return s, fmt.Errorf("--config %s: %w", path, err)
	}
	return s, nil
}

// readDefault reads .env, or else the machine's file. Neither need be there.
func (s *settings) readDefault(in Input) error {
	if in.Dotenv != "" {
		err := s.read(in.Dotenv, "remove it, or start in a directory of your own")
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("configuration file %s: %w", in.Dotenv, err)
		}
	}
	if in.Machine == "" {
		return nil
	}
	err := s.read(in.Machine, "chown it to root")
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		s.locked = fmt.Errorf("configuration file %s: %w: run as a user who may read it, or give --config FILE or --config off", in.Machine, err)
		return nil
	}
	return fmt.Errorf("configuration file %s: %w", in.Machine, err)
}

// configFlag is the value of --config. The file must be known before kong can give flags the values from it.
func configFlag(args []string) (path string) {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			path = value
		} else if arg == "--config" && i+1 < len(args) {
			path = args[i+1]
		}
	}
	return path
}

// read reads a file of settings. It names files that are written, so one that somebody else may have put there is refused: it must
// belong to the user who runs the program (through sudo, too) or to root, and others may not write it.
func (s *settings) read(path, remedy string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("it is a directory: name a file")
	}
	owner, known := ownerOf(info)
	trusted := []int{0, os.Geteuid()}
	if uid, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil && os.Geteuid() == 0 {
		trusted = append(trusted, uid)
	}
	switch {
	case known && !slices.Contains(trusted, owner):
		return fmt.Errorf("it belongs to user id %d, who could have it write any file: %s", owner, remedy)
	case known && info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write it (mode %v): chmod go-w %s", info.Mode().Perm(), path)
	}
	vars, err := godotenv.Parse(f)
	if err != nil {
		return fmt.Errorf("write lines of NETLYRA_NAME=value: %w", err)
	}
	for name, value := range vars {
		if _, set := s.vars[name]; !set {
			s.vars[name] = setting{value, origin(path)}
		}
	}
	if vars[Variable("token")] != "" && known && info.Mode().Perm()&0o004 != 0 {
		s.warning = fmt.Sprintf("every user of this machine can read %s, which holds a token: chmod o-r %s", path, path)
	}
	return nil
}
