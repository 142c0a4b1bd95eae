package config

import "strings"

// Setting is one setting's value and where it comes from: "environment", "file" or "default".
type Setting struct {
	Variable string
	Value    string
	Origin   string
}

// Settings lists all settings as they hold without flags; secrets are not shown.
func Settings(environ []string, dotenv string) ([]Setting, error) {
	flags, err := Flags()
	if err != nil {
		return nil, err
	}
	env, err := environment(environ, dotenv)
	if err != nil {
		return nil, &UsageError{err}
	}
	all := make([]Setting, 0, len(flags))
	for _, f := range flags {
		s := Setting{Variable: Variable(f.Name), Value: f.Default, Origin: "default"}
		if v, ok := env[s.Variable]; ok {
			s.Value, s.Origin = v, "file"
			if hasVariable(environ, s.Variable) {
				s.Origin = "environment"
			}
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

func hasVariable(environ []string, name string) bool {
	for _, v := range environ {
		if strings.HasPrefix(v, name+"=") {
			return true
		}
	}
	return false
}
