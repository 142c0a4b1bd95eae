package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// statement is one NAME=value of a file of settings, as it stands there.
type statement struct {
	line int // the first is 1
	name string
	text string // without the last line break
}

const blanks = "\t\v\f \u0085\u00a0" // before a value, for godotenv

var assignment = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*[=:]\s*(.*)$`)

var (
	errNoStatement = errors.New("write NETLYRA_NAME=value, or # before a comment")
	errQuote       = errors.New("the quote is not closed, or something follows where it is: write NETLYRA_NAME=\"value\"")
	errPrefix      = errors.New("the name does not begin with " + EnvPrefix + ": `netlyra config print` lists the known ones")
)

// statements splits a file of settings: NAME=value (or NAME: value), export before it, comments that begin with #, blank lines. A quoted
// value may go over several lines. What is wrong is said with the number of the line and never with its text, which may be a
// secret; godotenv's own errors quote it, so only what godotenv accepts is returned.
func statements(text string) (all []statement, problems []error) {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := assignment.FindStringSubmatch(line)
		if m == nil || m[1] == "export" {
			problems = append(problems, fmt.Errorf("line %d: %w", i+1, errNoStatement))
			continue
		}
		s := statement{i + 1, m[1], line}
		if value := strings.TrimLeft(m[2], blanks); value != "" && (value[0] == '"' || value[0] == '\'') {
			further, ok := closing(value, lines[i+1:])
			if !ok {
				problems = append(problems, fmt.Errorf("line %d: %w", i+1, errQuote))
				continue
			}
			s.text = strings.Join(append([]string{line}, lines[i+1:i+1+further]...), "\n")
			i += further
		}
		all = append(all, s)
	}
	return all, problems
}

// closing says how many further lines a quoted value takes. Behind its closing quote only a comment may stand. A backslash escapes a
// quote, but not another backslash: that is godotenv's rule.
func closing(value string, below []string) (further int, ok bool) {
	quote, previous := value[0], value[0]
	value = value[1:]
	for {
		for i := range len(value) {
			if value[i] == quote && previous != '\\' {
				rest := strings.TrimSpace(value[i+1:])
				return further, rest == "" || rest[0] == '#'
			}
			previous = value[i]
		}
		if further == len(below) {
			return 0, false
		}
		value, previous = below[further], '\n'
		further++
	}
}

// resembles says whether a name without our prefix begins with a misspelling of it: two letters differ, are missing or too many, or two
// are swapped.
func resembles(name string) bool {
	name = strings.ToUpper(name)
	for n := len(EnvPrefix) - 2; n <= min(len(EnvPrefix)+2, len(name)); n++ {
		if distance(name[:n], EnvPrefix) <= 2 {
			return true
		}
	}
	return false
}

// distance counts the letters to insert, delete or replace to make b of a (Levenshtein 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
