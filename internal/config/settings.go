package config

import "errors"

// Setting is one setting's value and where it comes from: "environment", the path of a file, or "default".
type Setting struct {
	Variable string
	Value    string
	Origin   string
}

// Settings lists all settings of run as they hold without flags; secrets are not shown.
func Settings(in Input) ([]Setting, error) {
	set, err := readSettings(in)
	if err == nil {
		err = errors.Join(append(set.problems, set.locked)...)
	}
	if err != nil {
		return nil, &UsageError{Err: err}
	}
	flags, _, err := Flags()
	if err != nil {
		return nil, err
	}
	all := make([]Setting, 0, len(flags))
	for _, f := range flags {
		s := Setting{Variable: Variable(f.Name), Value: f.Default, Origin: "default"}
		if v, ok := set.vars[s.Variable]; ok {
			s.Value, s.Origin = v.value, string(v.origin)
		}
		if f.IsBool() && s.Value == "" {
			s.Value = "false"
		}
		if f.Name == "token" && s.Value != "" {
			s.Value = "(set)"
		}
		all = append(all, s)
	}
	return all, nil
}
