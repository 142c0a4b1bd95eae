package config

import (
	"errors"
	"fmt"
	"io"
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
	vars     map[string]setting
	warnings []string // about the file
	problems []error  // with lines of the file; the others hold
	locked   error    // the machine's file cannot be read by this user
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
	return s, s.read(settingsFile{path: kong.ExpandPath(path), called: "--config " + path, remedy: "chown or chmod it"})
}

// readDefault reads .env, or else the machine's file. Neither need be there.
func (s *settings) readDefault(in Input) error {
	if in.Dotenv != "" {
		err := s.read(settingsFile{
			path: in.Dotenv, called: "configuration file " + in.Dotenv, remedy: "remove it, or start in a directory of your own", shared: true,
		})
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if in.Machine == "" {
		return nil
	}
	err := s.read(settingsFile{path: in.Machine, called: "configuration file " + in.Machine, remedy: "chown it to root"})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		s.locked = fmt.Errorf("%w: run as a user who may read it, or give --config FILE or --config off", err)
		return nil
	}
	return err
}

// settingsFile is a file of settings that is to be read.
type settingsFile struct {
	path   string
	called string // in messages
	remedy string // where it belongs to somebody else
	shared bool   // other programs may have settings there
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

// read reads a file of settings. What is wrong with a line goes to problems; the error is about the file.
func (s *settings) read(f settingsFile) error {
	text, info, err := readTrusted(f.path, f.remedy)
	if err != nil {
		return fmt.Errorf("%s: %w", f.called, err)
	}
	all, problems := statements(text)
	var good strings.Builder
	for _, st := range all {
		switch {
		case strings.HasPrefix(st.name, EnvPrefix):
		case !f.shared:
			problems = append(problems, fmt.Errorf("line %d: %w", st.line, errPrefix))
		case resembles(st.name):
			s.warnings = append(s.warnings, fmt.Sprintf("%s: line %d: %s has no effect: settings of netlyra begin with %s", f.called, st.line, st.name, EnvPrefix))
		}
		good.WriteString(st.text + "\n")
	}
	for _, err := range problems {
		s.problems = append(s.problems, fmt.Errorf("%s: %w", f.called, err))
	}
	vars, err := godotenv.Unmarshal(good.String())
	if err != nil {
		return fmt.Errorf("%s: %w", f.called, errNoStatement) // not err, which quotes the file
	}
	for name, value := range vars {
		if _, set := s.vars[name]; !set {
			s.vars[name] = setting{value, origin(f.path)}
		}
	}
	if _, known := ownerOf(info); known && vars[Variable("token")] != "" && info.Mode().Perm()&0o004 != 0 {
		s.warnings = append(s.warnings, fmt.Sprintf("every user of this machine can read %s, which holds a token: chmod o-r %s", f.path, f.path))
	}
	return nil
}

// readTrusted reads a file that names files which are written. One that somebody else may have put there is refused: it must
// belong to the user who runs the program (through sudo, too) or to root, and others may not write it.
func readTrusted(path, remedy string) (text string, info fs.FileInfo, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err = f.Stat(); err != nil {
		return "", nil, err
	}
	if info.IsDir() {
		return "", nil, errors.New("it is a directory: name a file")
	}
	owner, known := ownerOf(info)
	trusted := []int{0, os.Geteuid()}
	if uid, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil && os.Geteuid() == 0 {
		trusted = append(trusted, uid)
	}
	switch {
	case known && !slices.Contains(trusted, owner):
		return "", nil, fmt.Errorf("it belongs to user id %d, who could have it write any file: %s", owner, remedy)
	case known && info.Mode().Perm()&0o022 != 0:
		return "", nil, fmt.Errorf("others may write it (mode %v): chmod go-w %s", info.Mode().Perm(), path)
	}
	raw, err := io.ReadAll(f)
	return string(raw), info, err
}
