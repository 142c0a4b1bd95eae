package config

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"netlyra/internal/models"
)

// Complete lists what may stand in place of the last of words, which are those behind the program's name: commands, flags, the values of a
// closed list. Where a name of an interface may stand, interfaces is what comes before it in the word. Nothing at all: a file, or
// whatever.
func Complete(words []string) (answers []string, interfaces *string, err error) {
	p := &parsing{set: &settings{}, checker: &checker{}}
	parser, err := p.newParser(&CLI{})
	if err != nil || len(words) == 0 {
		return nil, nil, err
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	node, pending, arguments := follow(parser.Model.Node, before)
	flags := slices.Concat(node.AllFlags(true)...)
	if pending != nil {
		answers, interfaces = valuesOf(pending.Value, "", last)
		return answers, interfaces, nil
	}
	if name, value, ok := strings.Cut(last, "="); ok && strings.HasPrefix(name, "--") {
		if f := flagCalled(flags, name); f != nil {
			answers, interfaces = valuesOf(f.Value, name+"=", value)
		}
		return answers, interfaces, nil
	}
	if strings.HasPrefix(last, "-") {
		for _, f := range flags {
			answers = append(answers, "--"+f.Name)
		}
		return answers, nil, nil
	}
	for _, child := range node.Children {
		if !child.Hidden {
			answers = append(answers, child.Name)
		}
	}
	if len(node.Positional) > 0 {
		more, _ := valuesOf(node.Positional[min(arguments, len(node.Positional)-1)], "", last)
		answers = append(answers, more...)
	}
	if node.Name == "help" {
		answers = append(answers, topicFilter)
		for _, child := range parser.Model.Children {
			if !child.Hidden {
				answers = append(answers, child.Name)
			}
		}
	}
	return answers, nil, nil
}

// follow goes along finished words: to which command they lead, which flag waits for its value, and how many arguments there are.
func follow(node *kong.Node, words []string) (_ *kong.Node, pending *kong.Flag, arguments int) {
	for _, word := range words {
		if pending != nil {
			pending = nil
			continue
		}
		if strings.HasPrefix(word, "-") {
			if f := flagCalled(slices.Concat(node.AllFlags(true)...), word); f != nil && !f.IsBool() {
				pending = f
			}
			continue
		}
		at := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		if at < 0 {
			arguments++
			continue
		}
		node = node.Children[at]
	}
	return node, pending, arguments
}

func flagCalled(flags []*kong.Flag, word string) *kong.Flag {
	for _, f := range flags {
		if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}

// valuesOf lists what a flag or an argument may be, behind what comes before it in the word: the flag itself, and where several
// may stand with commas between them, the others.
func valuesOf(v *kong.Value, prefix, begun string) (answers []string, interfaces *string) {
	if v.Name == "interface" {
		return nil, &prefix
	}
	if v.Name == "severity" || v.Name == "category" {
		prefix += begun[:strings.LastIndex(begun, ",")+1]
	}
	for _, e := range closedList(v) {
		answers = append(answers, prefix+e)
	}
	return answers, nil
}

// closedList is what a flag or an argument may be, as its tag says or, by its name, models; nil is whatever.
func closedList(v *kong.Value) (all []string) {
	switch {
	case v.Enum != "":
		return v.EnumSlice()
	case v.Name == "category":
		for _, c := range models.Categories() {
			all = append(all, string(c))
		}
	case v.Name == "severity":
		for _, s := range models.Severities() {
			all = append(all, string(s))
		}
	}
	return all
}
