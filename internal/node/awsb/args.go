package awsb

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An option of a command. Scripts write them as Python's argparse reads them: short ones
// have several letters, long ones may be cut short as long as they are unique.
type option struct {
	short, long string
	alias       string // another long name
	hidden      bool   // not in the help
	value       string // how its value is called in the help; empty: it has none
	many        bool   // it may be given several times
	about       string
}

// arguments are what a command was called with.
type arguments struct {
	values   map[string][]string // by the long name
	operands []string
}

func (a arguments) given(long string) bool { return len(a.values[long]) > 0 }

func (a arguments) text(long string) string {
	if v := a.values[long]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// number returns an option's number, which must be between two; otherwise what it is
// without the option.
func (a arguments) number(long string, from, to, otherwise int) (int, error) {
	if !a.given(long) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(a.text(long))
	if err != nil || n < from || n > to {
		return 0, fmt.Errorf("%s: %q is no number from %d to %d", long, a.text(long), from, to)
	}
	return n, nil
}

var errHelp = errors.New("help")

// parse reads a command line.
func (c *command) parse(args []string) (arguments, error) {
	a := arguments{values: map[string][]string{}}
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case c.rest && len(a.operands) > 0, word == "-", !strings.HasPrefix(word, "-"):
			a.operands = append(a.operands, word)
			continue
		case word == "--":
			a.operands = append(a.operands, args[i+1:]...)
			i = len(args)
			continue
		case word == "-h" || word == "--help":
			return a, errHelp
		}
		name, value, assigned := strings.Cut(word, "=")
		o, err := c.option(name)
		switch {
		case err != nil:
			return a, err
		case o.value == "" && assigned:
			return a, fmt.Errorf("argument %s takes no value", o.long)
		case o.value != "" && !assigned:
			if i++; i == len(args) {
				return a, fmt.Errorf("argument %s/%s: expected one argument", o.short, o.long)
			}
			value = args[i]
		}
		if !o.many {
			a.values[o.long] = nil
		}
		a.values[o.long] = append(a.values[o.long], value)
	}
	if len(a.operands) < c.min {
		return a, fmt.Errorf("the following arguments are required: %s", c.operand)
	}
	if c.operand == "" && len(a.operands) > 0 {
		return a, fmt.Errorf("unrecognized arguments: %s", strings.Join(a.operands, " "))
	}
	return a, nil
}

func (c *command) option(name string) (option, error) {
	var like []option
	for _, o := range c.options {
		if o.short == name || o.long == name || o.alias != "" && o.alias == name {
			return o, nil
		}
		if strings.HasPrefix(name, "--") && strings.HasPrefix(o.long, name) {
			like = append(like, o)
		}
	}
	switch len(like) {
	case 0:
		return option{}, fmt.Errorf("unrecognized arguments: %s", name)
	case 1:
		return like[0], nil
	}
	return option{}, fmt.Errorf("ambiguous option: %s could match %s and %s", name, like[0].long, like[1].long)
}

func (c *command) usage(name string) string {
	words := []string{name, "[-h]"}
	for _, o := range c.options {
		if o.hidden {
			continue
		}
		word := "[" + o.short
		if o.value != "" {
			word += " " + o.value
		}
		words = append(words, word+"]")
	}
	return strings.TrimSpace(strings.Join(append(words, c.operand), " "))
}

func (c *command) help(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s\n\n%s\n\noptions:\n", c.usage(name), c.about)
	for _, o := range slices.Concat([]option{{short: "-h", long: "--help", about: "show this text"}}, c.options) {
		if o.hidden {
			continue
		}
		left := o.short + ", " + o.long
		if o.value != "" {
			left += " " + o.value
		}
		fmt.Fprintf(&b, "  %-36s %s\n", left, o.about)
	}
	return b.String()
}
