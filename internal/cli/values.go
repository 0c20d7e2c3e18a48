package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"pcluster/internal/cluster"
)

// The values of options, as [pflag.Value]. Two kinds of mistakes exist, because
// scripts tell them apart by exit status: a value outside a set of choices is an
// error of usage, while a value that the operation would have refused is answered
// as the operation would.

func badValue(format string, args ...any) error {
	return &cluster.Error{Status: 400, Body: cluster.ErrorBody{Message: "Bad Request: " + fmt.Sprintf(format, args...)}}
}

// A switchValue is an option without a value.
type switchValue bool

func (v *switchValue) String() string   { return fmt.Sprint(bool(*v)) }
func (v *switchValue) Type() string     { return "bool" }
func (v *switchValue) Set(string) error { *v = true; return nil }

// A textValue takes any text.
type textValue string

func (v *textValue) String() string     { return string(*v) }
func (v *textValue) Type() string       { return "text" }
func (v *textValue) Set(s string) error { *v = textValue(s); return nil }

// A boolValue takes true or false, in three spellings each.
type boolValue struct {
	option string
	target *bool
}

func (v *boolValue) String() string { return "" }
func (v *boolValue) Type() string   { return "true|false" }

func (v *boolValue) Set(s string) error {
	switch s {
	case "true", "True", "TRUE":
		*v.target = true
	case "false", "False", "FALSE":
		*v.target = false
	default:
		return badValue("Wrong type, expected 'boolean' for parameter '%s'", v.option)
	}
	return nil
}

// An intValue takes a whole number.
type intValue struct {
	option string
	target *int
}

func (v *intValue) String() string { return "" }
func (v *intValue) Type() string   { return "number" }

func (v *intValue) Set(s string) error {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return badValue("Wrong type, expected 'int' for parameter '%s'", v.option)
	}
	*v.target = n
	return nil
}

// A timeValue takes a time in ISO 8601.
type timeValue struct{ target *time.Time }

func (v *timeValue) String() string { return "" }
func (v *timeValue) Type() string   { return "time" }

func (v *timeValue) Set(s string) error {
	t, ok := cluster.ParseTime(s)
	if !ok {
		return fmt.Errorf("Start time and end time filters must be in the ISO 8601 UTC format: YYYY-MM-DDThh:mm:ssZ "+
			"(e.g. 1984-09-15T19:20:30Z or 1984-09-15). Unknown string format: %s", s)
	}
	*v.target = t
	return nil
}

// namePattern is what names of clusters and IDs of images look like.
const namePattern = `^[a-zA-Z][a-zA-Z0-9-]+$`

// A patternValue takes text that a pattern matches.
type patternValue struct {
	option  string
	pattern string
	target  *string
}

func (v *patternValue) String() string { return "" }
func (v *patternValue) Type() string   { return "name" }

func (v *patternValue) Set(s string) error {
	if !regexp.MustCompile(v.pattern).MatchString(s) {
		return badValue("'%s' does not match '%s' - '%s'", s, v.pattern, v.option)
	}
	*v.target = s
	return nil
}

// maxFacts is the size of the largest file of facts that is read: that of a
// large account, with all types of instances.
const maxFacts = 16 << 20

// A fileValue takes the path of a file and is its content.
type fileValue struct {
	path    *string
	content *[]byte
	most    int64 // bytes
}

func (v *fileValue) String() string { return "" }
func (v *fileValue) Type() string   { return "file" }

func (v *fileValue) Set(path string) error {
	content, err := readFile(path, v.most)
	if errors.Is(err, fs.ErrNotExist) {
		return badValue("File not found: '%s'", path)
	}
	if err != nil {
		var perr *fs.PathError
		if errors.As(err, &perr) {
			err = perr.Err
		}
		return badValue("File '%s' could not be read: %v", path, err)
	}
	*v.path, *v.content = path, content
	return nil
}

// readFile reads a file or a pipe, as shells make one of <(command), unless it
// has more bytes than most. Devices are refused before they are opened, since
// that alone can have effects and some never end.
func readFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	tooLarge := fmt.Errorf("it is larger than %d MiB", most>>20)
	switch mode := info.Mode(); {
	case mode.IsDir():
		return nil, errors.New("it is a directory")
	case mode&fs.ModeDevice != 0:
		return nil, errors.New("it is a device")
	case mode&fs.ModeSocket != 0:
		return nil, errors.New("it is a socket")
	case mode.IsRegular() && info.Size() > most:
		return nil, tooLarge
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1)) // files of /proc have no size, and others may grow
	if err == nil && int64(len(content)) > most {
		err = tooLarge
	}
	return content, err
}

// A choiceValue takes one of a few words.
type choiceValue struct {
	choices []string
	target  *string
}

func (v *choiceValue) String() string { return "" }
func (v *choiceValue) Type() string   { return "{" + strings.Join(v.choices, ",") + "}" }

func (v *choiceValue) Set(s string) error {
	if !slices.Contains(v.choices, s) {
		return fmt.Errorf("invalid choice: %s (choose from %s)", quote(s), quoteAll(v.choices))
	}
	*v.target = s
	return nil
}

// A manyValue is one of those options that take one or more values after it. The
// last use of the option counts alone.
type manyValue struct {
	each   pflag.Value // what one value must be
	one    *string     // where each leaves it
	target *[]string
}

func (v *manyValue) String() string     { return "" }
func (v *manyValue) Type() string       { return v.each.Type() + " ..." }
func (v *manyValue) Set(s string) error { return v.replace([]string{s}) }

func (v *manyValue) replace(values []string) error {
	*v.target = nil
	for _, s := range values {
		if err := v.each.Set(s); err != nil {
			return err
		}
		*v.target = append(*v.target, *v.one)
	}
	return nil
}

func manyChoices(target *[]string, choices []string) *manyValue {
	one := new(string)
	return &manyValue{each: &choiceValue{choices: choices, target: one}, one: one, target: target}
}

func manyPatterns(target *[]string, option, pattern string) *manyValue {
	one := new(string)
	return &manyValue{each: &patternValue{option: option, pattern: pattern, target: one}, one: one, target: target}
}

func manyTexts(target *[]string) *manyValue {
	one := new(textValue)
	return &manyValue{each: one, one: (*string)(one), target: target}
}

// A filtersValue takes filters of log streams: one or, with blanks between, more
// in one argument.
type filtersValue struct{ textValue }

func (v *filtersValue) Set(s string) error {
	if !cluster.LogFilters.MatchString(s) {
		return fmt.Errorf("filters parameter must be in the form %s", cluster.LogFilters)
	}
	return v.textValue.Set(s)
}

func manyFilters(target *[]string) *manyValue {
	one := new(filtersValue)
	return &manyValue{each: one, one: (*string)(&one.textValue), target: target}
}

// quote writes a text as Python would, which is what the messages of argparse
// and of unknown arguments look like.
func quote(s string) string {
	q := `'`
	if strings.Contains(s, `'`) && !strings.Contains(s, `"`) {
		q = `"`
	}
	var b strings.Builder
	b.WriteString(q)
	for _, r := range s {
		switch {
		case string(r) == q || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteString(q)
	return b.String()
}

func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return strings.Join(quoted, ", ")
}
