package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// reader reads the texts of flags and arguments into fields. kong ends at the first that is wrong; a reader notes it and goes on, so that
// all are reported.
type reader struct {
	mappers *kong.Registry
	checker *checker
}

// newReader replaces kong's way to read texts: it goes through JSON, in which bytes that are not UTF-8 are lost, and a file may have
// such a name.
func newReader(c *checker) *reader {
	m := kong.NewRegistry().RegisterDefaults()
	m.RegisterKind(reflect.String, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		text, err := popText(ctx)
		if err == nil {
			target.SetString(text)
		}
		return err
	}))
	m.RegisterName("path", kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		text, err := popText(ctx)
		if err == nil && text != "" && text != "-" && text != DatabaseTemporary && text != FileOff {
			text = kong.ExpandPath(text)
		}
		if err == nil {
			target.SetString(text)
		}
		return err
	}))
	m.RegisterType(reflect.TypeFor[Duration](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		text, err := popText(ctx)
		if err != nil {
			return err
		}
		d, err := ParseDuration(text)
		target.Set(reflect.ValueOf(d))
		return err
	}))
	return &reader{m, c}
}

func popText(ctx *kong.DecodeContext) (string, error) {
	token, err := ctx.Scan.PopValue("text")
	if err != nil {
		return "", err
	}
	return fmt.Sprint(token.Value), nil
}

// options make kong read through r.
func (r *reader) options() []kong.Option {
	all := []kong.Option{kong.NamedMapper("path", r), kong.TypeMapper(reflect.TypeFor[Duration](), r), kong.KindMapper(reflect.Bool, boolReader{r})}
	for _, kind := range []reflect.Kind{reflect.String, reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint64, reflect.Float64, reflect.Slice} {
		all = append(all, kong.KindMapper(kind, r))
	}
	return all
}

// boolReader tells kong that a flag needs no value.
type boolReader struct{ *reader }

func (boolReader) IsBool() bool { return true }

// Decode reads one value.
func (r *reader) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	v, next := ctx.Value, ctx.Scan.Peek()
	if v.Flag == nil {
		return r.decodeArgument(ctx, target)
	}
	if target.Kind() != reflect.Bool && !next.IsValue() {
		r.checker.bad(v.Name, "", "needs a value")
		return nil
	}
	text := ""
	if next.IsValue() {
		text = fmt.Sprint(next.Value)
	}
	err := r.mappers.ForNamedValue(v.Tag.Type, target).Decode(ctx, target)
	switch {
	case err != nil:
		r.checker.bad(v.Name, text, "%s", kindOf(target.Type()))
	case v.Enum != "" && !slices.Contains(v.EnumSlice(), target.String()):
		r.checker.bad(v.Name, text, "must be one of %s", strings.Join(v.EnumSlice(), ", "))
	default:
		return nil
	}
	if target.Kind() == reflect.String {
		target.SetString(v.Default) // kong looks at it once more
	}
	return nil
}

func (r *reader) decodeArgument(ctx *kong.DecodeContext, target reflect.Value) error {
	return r.mappers.ForNamedValue(ctx.Value.Tag.Type, target).Decode(ctx, target)
}

// kindOf says what a value must be.
func kindOf(t reflect.Type) string {
	if t == reflect.TypeFor[Duration]() {
		return errDuration.Error()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "must be true or false"
	case reflect.Float64:
		return "must be a number"
	case reflect.Slice:
		return kindOf(t.Elem()) + ", or several with commas between them"
	case reflect.Uint16:
		return "must be a whole number from 0 to 65535"
	case reflect.Uint64:
		return "must be a whole number, 0 or more"
	default:
		return "must be a whole number"
	}
}
