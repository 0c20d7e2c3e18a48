package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
)

// newConfigCmd is the command on the language itself, which asks nobody. cobra
// parses its arguments: no script of old calls it.
func newConfigCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the language of files, and what a file implies",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigSchemaCmd(env), newConfigShowCmd(env))
	return cmd
}

func newConfigSchemaCmd(env *Env) *cobra.Command {
	kind := "cluster"
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of cluster or image files, for editors",
		Long: "Print the JSON Schema (draft 2020-12) of cluster or image files. Editors with a YAML\n" +
			"language server complete keys with it and say what they mean.",
		Example: "  pcluster config schema > cluster.schema.json\n" +
			"  sed -i '1i # yaml-language-server: $schema=cluster.schema.json' cluster.yaml",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := env.Stdout.Write(config.JSONSchema(kind == "image"))
			return err
		},
	}
	cmd.Flags().Var(&choiceValue{[]string{"cluster", "image"}, &kind}, "kind", "which files: cluster (the default) or image")
	return cmd
}

func newConfigShowCmd(env *Env) *cobra.Command {
	var path string
	var data []byte
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print a file with every implied value, and where each comes from",
		Example: "  pcluster config show -c cluster.yaml\n" +
			"  pcluster config show -c cluster.yaml --json | jq '.[] | select(.source == \"implied\")'",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return env.showConfig(path, data, asJSON) },
	}
	cmd.Flags().VarP(&readableFile{fileValue{&path, &data, config.MaxBytes}}, "configuration", "c", "YAML file that describes a cluster or an image")
	cobra.CheckErr(cmd.MarkFlagRequired("configuration"))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list of paths, values and sources")
	return cmd
}

// A readableFile says in plain words that a file can't be read.
type readableFile struct{ fileValue }

func (v *readableFile) Set(path string) error {
	err := v.fileValue.Set(path)
	if refusal, ok := errors.AsType[*cluster.Error](err); ok {
		return errors.New(strings.TrimPrefix(refusal.Body.Message, "Bad Request: "))
	}
	return err
}

// showConfig prints what can be shown: a file whose shape is wrong has no implied
// values, only problems.
func (env *Env) showConfig(path string, data []byte, asJSON bool) error {
	var shown interface {
		Show() ([]config.Value, []byte)
	}
	var problems config.Problems
	if config.IsImageFile(data) {
		var f *config.ImageFile
		f, problems = config.ParseImage(path, data)
		shown = f
	} else {
		var c *config.Cluster
		c, problems = config.Parse(path, data)
		shown = c
	}
	if problems.Err() != nil {
		for _, p := range problems {
			at := p.Pos
			p.Pos = config.Pos{} // said the way editors and compilers say it
			fmt.Fprintf(env.Stderr, "%s:%d:%d: %s\n", path, at.Line, at.Column, strings.TrimPrefix(p.String(), ": "))
		}
		return ExitStatus(1)
	}
	values, text := shown.Show()
	if !asJSON {
		_, err := env.Stdout.Write(text)
		return err
	}
	out, err := json.MarshalIndent(values, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "%s\n", out)
	return err
}
