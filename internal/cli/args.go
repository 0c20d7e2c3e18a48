package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"pcluster/internal/cluster"
)

// Arguments are read by the rules of Python's argparse, which differ from
// cobra's in what scripts rely on: long options may be shortened to a prefix
// that is no other's, some options take several values after one another, an
// option that needs a value never swallows another option, and what nobody knows
// is collected, not refused at once.

// errHelp asks for the help of a command.
var errHelp = errors.New("help")

// A usageError is a mistake in the arguments: usage and message on stderr, exit
// status 2.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// required marks options that must be given, as an annotation of the option.
const required = "required"

// optionName returns an option as argparse names it in messages.
func optionName(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand + "/--" + f.Name
	}
	return "--" + f.Name
}

// An argument is one argument with what it looks like: an option, perhaps with a
// value attached, or anything else.
type argument struct {
	text     string
	option   bool // looks like an option
	flag     *pflag.Flag
	value    string
	hasValue bool
}

var negativeNumber = regexp.MustCompile(`^-\d+$|^-\d*\.\d+$`)

// classify tells what an argument is, before any of them is acted upon.
func classify(flags *pflag.FlagSet, text string) (argument, error) {
	a := argument{text: text}
	if len(text) < 2 || text[0] != '-' {
		return a, nil
	}
	exact := func(s string) *pflag.Flag {
		switch {
		case strings.HasPrefix(s, "--"):
			return flags.Lookup(s[2:])
		case len(s) == 2:
			return flags.ShorthandLookup(s[1:])
		}
		return nil
	}
	if f := exact(text); f != nil {
		a.option, a.flag = true, f
		return a, nil
	}
	left, right, assigned := strings.Cut(text, "=")
	if f := exact(left); assigned && f != nil {
		a.option, a.flag, a.value, a.hasValue = true, f, right, true
		return a, nil
	}
	if strings.HasPrefix(text, "--") {
		var candidates []*pflag.Flag
		flags.VisitAll(func(f *pflag.Flag) {
			if strings.HasPrefix("--"+f.Name, left) {
				candidates = append(candidates, f)
			}
		})
		switch len(candidates) {
		case 0:
		case 1:
			a.option, a.flag, a.value, a.hasValue = true, candidates[0], right, assigned
			return a, nil
		default:
			names := make([]string, len(candidates))
			for i, f := range candidates {
				names[i] = "--" + f.Name
			}
			return a, usagef("ambiguous option: %s could match %s", text, strings.Join(names, ", "))
		}
	} else if f := exact(text[:2]); f != nil {
		a.option, a.flag, a.value, a.hasValue = true, f, text[2:], true
		return a, nil
	}
	if negativeNumber.MatchString(text) || strings.Contains(text, " ") {
		return a, nil
	}
	a.option = true // of nobody we know
	return a, nil
}

// parseArgs sets the options of a command. It returns the arguments that the
// command does not know, in their order.
func parseArgs(flags *pflag.FlagSet, args []string) (unknown []string, _ error) {
	var list []argument
	for i, text := range args {
		if text == "--" {
			for _, rest := range args[i:] {
				list = append(list, argument{text: rest})
			}
			break
		}
		a, err := classify(flags, text)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	for i := 0; i < len(list); {
		a := list[i]
		i++
		if a.flag == nil {
			unknown = append(unknown, a.text)
			continue
		}
		var err error
		if i, err = setOption(flags, a, list, i); err != nil {
			return nil, err
		}
	}
	var lacking []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Annotations[required] != nil && !f.Changed {
			lacking = append(lacking, optionName(f))
		}
	})
	if len(lacking) > 0 {
		return nil, usagef("the following arguments are required: %s", strings.Join(lacking, ", "))
	}
	return unknown, nil
}

// setOption sets one option from its own argument or those from position i on,
// and returns the position after them.
func setOption(flags *pflag.FlagSet, a argument, list []argument, i int) (int, error) {
	f := a.flag
	if f.NoOptDefVal != "" {
		if f.Name == "help" { // the only switch with a short form, so that -hx is -h, too
			return i, errHelp
		}
		if a.hasValue {
			return i, usagef("argument %s: ignored explicit argument %s", optionName(f), quote(a.value))
		}
		f.Changed = true
		return i, f.Value.Set(f.NoOptDefVal)
	}
	values := []string{a.value}
	many, isMany := f.Value.(*manyValue)
	if !a.hasValue {
		values = nil
		for i < len(list) && !list[i].option && list[i].text != "--" && (isMany || len(values) == 0) {
			values = append(values, list[i].text)
			i++
		}
	}
	if len(values) == 0 {
		if isMany {
			return i, usagef("argument %s: expected at least one argument", optionName(f))
		}
		return i, usagef("argument %s: expected one argument", optionName(f))
	}
	var err error
	if isMany {
		err = many.replace(values)
	} else {
		err = f.Value.Set(values[0])
	}
	if _, isAnswer := errors.AsType[*cluster.Error](err); err != nil && !isAnswer {
		return i, usagef("argument %s: %v", optionName(f), err)
	}
	f.Changed = true
	return i, err
}
