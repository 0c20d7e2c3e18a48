package configure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Console is where questions are asked: lines out, lines in.
type Console struct {
	in    chan string // closed at the end of the input
	out   io.Writer
	style bool
}

// NewConsole returns a console. Whether the output is a terminal that shows styles
// is for the caller to know.
func NewConsole(in io.Reader, out io.Writer, style bool) *Console {
	c := &Console{in: make(chan string), out: out, style: style}
	go func() { // reading can't be interrupted; asking can
		defer close(c.in)
		lines := bufio.NewReader(in)
		for {
			line, err := lines.ReadString('\n')
			if line != "" {
				c.in <- strings.TrimSpace(line)
			}
			if err != nil {
				return
			}
		}
	}()
	return c
}

func (c *Console) printf(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// styled returns a text in a style of Select Graphic Rendition.
func (c *Console) styled(sgr, text string) string {
	if !c.style {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

const (
	bold = "1"
	dim  = "2"
	red  = "31"
)

// ask asks a question until its answer passes the check, which returns the value
// that the answer stands for, or why it is none.
func (c *Console) ask(ctx context.Context, label, otherwise string, check func(string) (string, error)) (string, error) {
	before, last := "", label
	if i := strings.LastIndex(label, "\n"); i >= 0 {
		before, last = label[:i+1], label[i+1:]
	}
	for {
		fmt.Fprintf(c.out, "%s%s [%s]: ", before, c.styled(bold, last), otherwise)
		var answer string
		select {
		case <-ctx.Done():
			fmt.Fprintln(c.out)
			return "", ctx.Err()
		case line, ok := <-c.in:
			if !ok {
				fmt.Fprintln(c.out)
				return "", fmt.Errorf("the input ended at the question %s", last)
			}
			answer = line
		}
		if answer == "" {
			answer = otherwise
		}
		value, err := check(answer)
		if err == nil {
			return value, nil
		}
		if refusal, ok := errors.AsType[refusal](err); ok {
			c.printf("%s %s", c.styled(red, "ERROR:"), refusal)
			continue
		}
		return "", err
	}
}

// A refusal is why an answer is none, and a reason to ask again.
type refusal string

func (r refusal) Error() string { return string(r) }

func unacceptable(answer, label string) error {
	return refusal(fmt.Sprintf("%s is not an acceptable value for %s", answer, label))
}

// A choice is something to choose, with more that helps to choose.
type choice struct {
	id   string
	more []string
}

func choices(ids []string) []choice {
	list := make([]choice, len(ids))
	for i, id := range ids {
		list[i] = choice{id: id}
	}
	return list
}

// choose asks for one of several things, by number or by name. The header is that
// of what more there is.
func (c *Console) choose(ctx context.Context, label, otherwise string, list []choice, header ...string) (string, error) {
	if len(list) == 0 {
		return "", fmt.Errorf("No options found for %s", label)
	}
	index := func(id string) int { return slices.IndexFunc(list, func(x choice) bool { return x.id == id }) }
	if index(otherwise) < 0 {
		otherwise = list[0].id
	}
	c.printf("Allowed values for %s:", label)
	if len(header) == 0 {
		for i, x := range list {
			c.printf("%d. %s", i+1, x.id)
		}
	} else {
		c.table(list, header)
	}
	return c.ask(ctx, label, otherwise, func(answer string) (string, error) {
		if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(list) {
			return list[n-1].id, nil
		}
		if index(answer) < 0 {
			return "", unacceptable(answer, label)
		}
		return answer, nil
	})
}

// table prints choices below a header, numbers to the right.
func (c *Console) table(list []choice, header []string) {
	rows := [][]string{append([]string{"#", "id"}, header...)}
	for i, x := range list {
		rows = append(rows, append([]string{strconv.Itoa(i + 1), x.id}, x.more...))
	}
	widths, numeric := make([]int, len(rows[0])), make([]bool, len(rows[0]))
	for col := range rows[0] {
		numeric[col] = true
		for i, row := range rows {
			widths[col] = max(widths[col], utf8.RuneCountInString(row[col]))
			if _, err := strconv.Atoi(row[col]); i > 0 && err != nil {
				numeric[col] = false
			}
		}
	}
	for i, row := range rows {
		var line strings.Builder
		for col, cell := range row {
			pad := strings.Repeat(" ", widths[col]-utf8.RuneCountInString(cell))
			if numeric[col] {
				cell = pad + cell
			} else {
				cell += pad
			}
			line.WriteString(cell + "  ")
		}
		c.printf("%s", strings.TrimRight(line.String(), " "))
		if i == 0 {
			var rule []string
			for _, w := range widths {
				rule = append(rule, strings.Repeat("-", w))
			}
			c.printf("%s", c.styled(dim, strings.Join(rule, "  ")))
		}
	}
}

// number asks for a whole number.
func (c *Console) number(ctx context.Context, label string, otherwise, least, most int) (int, error) {
	n := 0
	_, err := c.ask(ctx, label, strconv.Itoa(otherwise), func(answer string) (string, error) {
		var err error
		if n, err = strconv.Atoi(answer); err != nil || n < least || n > most || strings.HasPrefix(answer, "+") {
			return "", unacceptable(answer, label)
		}
		return answer, nil
	})
	return n, err
}

// yes asks a question of yes or no.
func (c *Console) yes(ctx context.Context, label, otherwise string) (bool, error) {
	answer, err := c.ask(ctx, label, otherwise, func(answer string) (string, error) {
		if answer != "y" && answer != "n" {
			return "", unacceptable(answer, label[strings.LastIndex(label, "\n")+1:])
		}
		return answer, nil
	})
	return answer == "y", err
}
