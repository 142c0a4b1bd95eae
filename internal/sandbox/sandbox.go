// Package sandbox gives up what the program does not need once its interfaces, listeners and files are open: capabilities, the right to
// gain privileges, files outside its own folders (Landlock), and system calls that no part of it makes (seccomp). What it reads are
// hostile packets; should one of them take the program over, it finds a process that can do little.
//
// Nothing of it can be taken back. It holds for all threads.
package sandbox

import (
	"errors"
	"fmt"
	"strings"
)

// Options say what the program still needs.
type Options struct {
	KeepNetRaw bool     // an interface may have to be opened again
	Connect    bool     // to TCP ports of others: brokers name further ones
	Read       []string // files and directories; one that is missing is left out
	Write      []string // directories in which files are read, made, changed and removed
}

// Status is what is in force.
type Status struct {
	User         string   // whom the process runs as
	Capabilities []string // that it keeps, such as "net_raw"
	NoNewPrivs   bool     // no program it starts could have more privileges
	Landlock     int      // version of the kernel's interface; 0: files are not restricted
	Seccomp      bool     // system calls are restricted
	Missing      []string // parts that are not in force, and why
	Notes        []string // why it keeps more than it would elsewhere
}

// ErrIncomplete says that a part of the sandbox is not in force.
var ErrIncomplete = errors.New("the sandbox is not complete")

// Complete is nil where all parts are in force.
func (s *Status) Complete() error {
	if len(s.Missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrIncomplete, strings.Join(s.Missing, "; "))
}

func (s *Status) miss(part string, err error) {
	s.Missing = append(s.Missing, fmt.Sprintf("%s: %v", part, err))
}
