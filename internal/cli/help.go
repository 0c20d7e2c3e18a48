package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Help is ours: cobra's is made of text templates, which keep the linker from
// dropping code, and knows nothing of options that take several values.

const helpWidth = 80

// ours reports whether a command's arguments are read by parseArgs.
func ours(cmd *cobra.Command) bool { return cmd.DisableFlagParsing }

// usageOf returns an option with its value, as the usage line shows it.
func usageOf(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand
	}
	if value := valueName(f); value != "" {
		name += " " + value
	}
	return name
}

func valueName(f *pflag.Flag) string {
	if f.NoOptDefVal != "" {
		return ""
	}
	if many, ok := f.Value.(*manyValue); ok {
		one := strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if choice, ok := many.each.(*choiceValue); ok {
			one = choice.Type()
		}
		return one + " [" + one + " ...]"
	}
	if choice, ok := f.Value.(*choiceValue); ok {
		return choice.Type()
	}
	return strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// writeUsage writes the usage line of a command.
func writeUsage(w io.Writer, cmd *cobra.Command) {
	head := "usage: " + cmd.CommandPath()
	var parts []string
	switch {
	case !cmd.HasParent():
		parts = []string{"[-h]", "COMMAND", "..."}
	case ours(cmd):
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			switch {
			case f.Hidden:
			case f.Annotations[required] != nil:
				parts = append(parts, usageOf(f))
			default:
				parts = append(parts, "["+usageOf(f)+"]")
			}
		})
		if what := cmd.Annotations[positional]; what != "" {
			parts = append(parts, what)
		}
	default:
		parts = strings.Fields(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath()))
		if cmd.HasAvailableSubCommands() {
			parts = append(parts, "COMMAND", "...")
		}
	}
	indent := strings.Repeat(" ", len(head))
	line := head
	for _, part := range parts {
		if len(line)+1+len(part) > helpWidth && line != indent && line != head {
			fmt.Fprintln(w, line)
			line = indent
		}
		line += " " + part
	}
	fmt.Fprintln(w, line)
}

// writeHelp writes the help of a command.
func writeHelp(w io.Writer, cmd *cobra.Command) {
	writeUsage(w, cmd)
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintln(w)
	if ours(cmd) || !cmd.HasParent() {
		for i, paragraph := range strings.Split(text, "\n\n") {
			if i > 0 {
				fmt.Fprintln(w)
			}
			writeWrapped(w, "", paragraph)
		}
	} else {
		fmt.Fprintln(w, text)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprint(w, "\nCOMMANDS:\n")
		for _, sub := range inOrder(cmd) {
			fmt.Fprintf(w, "  %-28s %s\n", sub.Name(), sub.Short)
		}
	}
	options := false
	cmd.InitDefaultHelpFlag()
	show := func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if !options {
			fmt.Fprint(w, "\noptions:\n")
			options = true
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value := valueName(f); value != "" {
			name += " " + value
		}
		fmt.Fprintf(w, "  %s\n", name)
		writeWrapped(w, "        ", f.Usage)
	}
	cmd.NonInheritedFlags().VisitAll(show)
	cmd.InheritedFlags().VisitAll(show)
	if ours(cmd) {
		writeExitStatus(w, cmd)
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nexamples:\n%s\n", cmd.Example)
	}
	if !cmd.HasParent() {
		fmt.Fprint(w, "\nFor the options of a command, run: pcluster COMMAND --help\n")
	}
}

// writeExitStatus says what a script can tell by the exit status.
func writeExitStatus(w io.Writer, cmd *cobra.Command) {
	meanings := []string{"done", "failed: standard error says why", "a mistake in the arguments"}
	if cmd.Flags().Lookup("query") != nil {
		meanings[0], meanings[1] = "done: the answer is on standard output", "refused or failed: the answer is a message"
	}
	for line := range strings.Lines(cmd.Annotations[exitStatus]) {
		status, meaning, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(status)
		if err != nil || n > len(meanings) {
			panic(cmd.Name() + ": exit statuses are to be lines of number and meaning, in order")
		}
		if n == len(meanings) {
			meanings = append(meanings, "")
		}
		meanings[n] = meaning
	}
	fmt.Fprint(w, "\nexit status:\n")
	for n, meaning := range meanings {
		var wrapped strings.Builder
		writeWrapped(&wrapped, "     ", meaning)
		fmt.Fprintf(w, "  %d  %s", n, strings.TrimLeft(wrapped.String(), " "))
	}
}

func writeWrapped(w io.Writer, indent, text string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(indent)+len(line)+1+len(word) > helpWidth {
			fmt.Fprintln(w, indent+line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		fmt.Fprintln(w, indent+line)
	}
}
