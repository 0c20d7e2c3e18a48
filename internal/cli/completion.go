package cli

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcluster/internal/validate"
)

// Completion is done here, not in the shells: their scripts hand over the words
// before the cursor and show what comes back. Cobra's completion can't be used, for
// it knows nothing of options that parseArgs reads.

//go:embed completion
var completionScripts embed.FS

var shells = []string{"bash", "zsh", "fish"}

func newCompletionCmd(env *Env, run func(*Env, string) error) *cobra.Command {
	var c common
	cmd := &cobra.Command{
		Use:   "completion",
		Short: "Print a script that completes commands in a shell",
		Long: "Print a script that completes commands, options and values in a shell, with the names of your clusters " +
			"and images as they are at the moment.",
		Example: "  source <(pcluster completion bash)          # in ~/.bashrc\n" +
			"  source <(pcluster completion zsh)           # in ~/.zshrc, after compinit\n" +
			"  pcluster completion fish | source           # in ~/.config/fish/config.fish",
		Annotations: map[string]string{positional: "{" + strings.Join(shells, ",") + "}"},
	}
	begin(cmd)
	return plain(env, cmd, &c, false, true, func(_ context.Context, args []string) error {
		if len(args) == 0 {
			return usagef("the following arguments are required: shell")
		}
		if len(args) > 1 {
			return unknownArguments(args[1:])
		}
		if !slices.Contains(shells, args[0]) {
			return usagef("argument shell: invalid choice: %s (choose from %s)", quote(args[0]), quoteAll(shells))
		}
		return run(env, args[0])
	})
}

func runCompletion(env *Env, shell string) error {
	script, err := completionScripts.ReadFile("completion/pcluster." + shell)
	if err != nil {
		return err
	}
	_, err = env.Stdout.Write(script)
	return err
}

// completeCommand is what the scripts call, with the words after the program's
// name; the last one, perhaps empty, is to be completed.
const completeCommand = "__complete"

func newCompleteCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: completeCommand, Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, words []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
			defer cancel()
			c := &completer{env: env, root: cmd.Root(), words: words}
			found, files := c.complete(ctx)
			if files {
				_, err := fmt.Fprintln(env.Stdout, ":files")
				return err
			}
			for _, f := range found {
				line := f.value
				if f.about != "" {
					line += "\t" + f.about
				}
				if _, err := fmt.Fprintln(env.Stdout, line); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// completionPatience is how long somebody who pressed the key is kept waiting for AWS.
const completionPatience = 3 * time.Second

// A candidate is what a word can become.
type candidate struct{ value, about string }

func candidates(values []string) []candidate {
	list := make([]candidate, len(values))
	for i, v := range values {
		list[i] = candidate{value: v}
	}
	return list
}

type completer struct {
	env   *Env
	root  *cobra.Command
	words []string
}

// complete returns what the last word can become, or that it is a file.
func (c *completer) complete(ctx context.Context) (_ []candidate, files bool) {
	if len(c.words) == 0 {
		c.words = []string{""}
	}
	cmd, words := c.root, c.words
	for len(words) > 1 {
		i := slices.IndexFunc(cmd.Commands(), func(sub *cobra.Command) bool { return sub.Name() == words[0] })
		if i < 0 {
			break
		}
		cmd, words = cmd.Commands()[i], words[1:]
	}
	word := words[len(words)-1]
	if cmd.HasAvailableSubCommands() && len(words) > 1 {
		return nil, false // after a command that there is not
	}
	if cmd.HasAvailableSubCommands() && !strings.HasPrefix(word, "-") {
		var list []candidate
		for _, sub := range inOrder(cmd) {
			list = append(list, candidate{sub.Name(), sub.Short})
		}
		return beginning(list, "", word), false
	}
	cmd.InitDefaultHelpFlag()
	flags := cmd.Flags()
	if name, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(name, "--") {
		if f := flags.Lookup(name[2:]); f != nil && f.NoOptDefVal == "" {
			list, files := c.values(ctx, cmd, f)
			if files { // shells complete files only in words of their own
				return nil, true
			}
			return beginning(list, name+"=", value), false
		}
		return nil, false
	}
	if f := openOption(flags, words[:len(words)-1]); f != nil && !strings.HasPrefix(word, "-") {
		list, files := c.values(ctx, cmd, f)
		return beginning(list, "", word), files
	}
	if len(words) == 1 && cmd.Annotations[positional] != "" && !strings.HasPrefix(word, "-") {
		return beginning(candidates(choicesOf(cmd)), "", word), false
	}
	return beginning(unusedOptions(cmd, words[:len(words)-1]), "", word), false
}

// choicesOf returns what the first argument of a command can be.
func choicesOf(cmd *cobra.Command) []string {
	inside, _, _ := strings.Cut(strings.TrimPrefix(cmd.Annotations[positional], "{"), "}")
	return strings.Split(inside, ",")
}

// beginning returns the candidates that begin with a word, each behind a prefix.
func beginning(list []candidate, prefix, word string) []candidate {
	var out []candidate
	for _, x := range list {
		if strings.HasPrefix(x.value, word) {
			out = append(out, candidate{prefix + x.value, x.about})
		}
	}
	return out
}

// openOption returns the option that waits for a value after these words.
func openOption(flags *pflag.FlagSet, words []string) *pflag.Flag {
	for distance := 1; distance <= len(words); distance++ {
		word := words[len(words)-distance]
		a, err := classify(flags, word)
		if err != nil || !a.option {
			continue // a value, of an option before it
		}
		if a.flag == nil || a.hasValue || a.flag.NoOptDefVal != "" {
			return nil
		}
		if _, many := a.flag.Value.(*manyValue); many || distance == 1 {
			return a.flag
		}
		return nil
	}
	return nil
}

// unusedOptions returns the options of a command that are not among the words,
// those that must be given first.
func unusedOptions(cmd *cobra.Command, words []string) []candidate {
	used := map[string]bool{}
	for _, word := range words {
		if a, err := classify(cmd.Flags(), word); err == nil && a.flag != nil {
			used[a.flag.Name] = true
		}
	}
	var must, may []candidate
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		switch x := (candidate{"--" + f.Name, f.Usage}); {
		case f.Hidden || used[f.Name]:
		case f.Annotations[required] != nil:
			must = append(must, x)
		default:
			may = append(may, x)
		}
	})
	return append(must, may...)
}

// values returns what an option can have as value, or that it is a file.
func (c *completer) values(ctx context.Context, cmd *cobra.Command, f *pflag.Flag) (_ []candidate, files bool) {
	value := f.Value
	if many, ok := value.(*manyValue); ok {
		value = many.each
	}
	switch v := value.(type) {
	case *choiceValue:
		return candidates(v.choices), false
	case *boolValue:
		return candidates([]string{"true", "false"}), false
	case *fileValue:
		return nil, true
	}
	switch f.Name {
	case "cluster-name":
		if cmd.Name() == "create-cluster" {
			return nil, false // a new one
		}
		return c.ask(ctx, "clusters[].clusterName", "list-clusters"), false
	case "image-id":
		if cmd.Name() == "build-image" {
			return nil, false
		}
		return c.ask(ctx, "images[].imageId",
			"list-images --image-status AVAILABLE", "list-images --image-status PENDING", "list-images --image-status FAILED"), false
	case "log-stream-name":
		if name := c.given(cmd, "cluster-name"); name != "" {
			return c.ask(ctx, "logStreams[].logStreamName", "list-cluster-log-streams --cluster-name="+name), false
		}
		if name := c.given(cmd, "image-id"); name != "" {
			return c.ask(ctx, "logStreams[].logStreamName", "list-image-log-streams --image-id="+name), false
		}
	case "queue-name":
		return c.ask(ctx, "instances[].queueName", "describe-cluster-instances --node-type ComputeNode --cluster-name="+c.given(cmd, "cluster-name")), false
	case "region":
		return candidates(validate.Regions), false
	case "suppress-validators":
		return candidates([]string{"ALL", "type:"}), false
	case "filters":
		return candidates([]string{"Name=node-type,Values=HeadNode", "Name=private-dns-name,Values="}), false
	case "architecture":
		return candidates([]string{"x86_64", "arm64"}), false
	case "output-file", "key-path", "config":
		return nil, true
	}
	return nil, false
}

// given returns the value that an option has in the words.
func (c *completer) given(cmd *cobra.Command, name string) string {
	for i, word := range c.words {
		a, err := classify(cmd.Flags(), word)
		switch {
		case err != nil || a.flag == nil || a.flag.Name != name:
		case a.hasValue:
			return a.value
		case i+1 < len(c.words):
			return c.words[i+1]
		}
	}
	return ""
}

// ask returns what a query finds in the answers of commands, all their pages,
// together. Whatever goes wrong, there is just less to choose from.
func (c *completer) ask(ctx context.Context, query string, commands ...string) []candidate {
	region := ""
	if i := slices.IndexFunc(c.root.Commands(), func(sub *cobra.Command) bool { return sub.Name() == "list-clusters" }); i >= 0 {
		region = c.given(c.root.Commands()[i], "region")
	}
	found := make([][]string, len(commands))
	var wg sync.WaitGroup
	for i, command := range commands {
		wg.Go(func() {
			args := strings.Fields(command)
			if region != "" {
				args = append(args, "--region="+region)
			}
			found[i] = c.askOne(ctx, query, args)
		})
	}
	wg.Wait()
	all := slices.Concat(found...)
	slices.Sort(all)
	return candidates(slices.Compact(all))
}

func (c *completer) askOne(ctx context.Context, query string, args []string) []string {
	const mostPages = 10
	var all []string
	for token, page := "", 0; page < mostPages; page++ {
		env, answer := *c.env, &bytes.Buffer{}
		env.Stdin, env.Stdout, env.Stderr = strings.NewReader(""), answer, io.Discard
		env.Columns = func() (int, bool) { return 0, false }
		env.Home = "" // no log
		env.Getenv = func(name string) string {
			if strings.HasPrefix(name, "PCLUSTER_LOG") {
				return ""
			}
			return c.env.Getenv(name)
		}
		call := append(slices.Clone(args), "--query", "["+query+", nextToken]")
		if token != "" {
			call = append(call, "--next-token="+token)
		}
		if Run(ctx, call, env) != 0 {
			break
		}
		var names []string
		if json.Unmarshal(answer.Bytes(), &[]any{&names, &token}) != nil || token == "" {
			return append(all, names...)
		}
		all = append(all, names...)
	}
	return all
}
