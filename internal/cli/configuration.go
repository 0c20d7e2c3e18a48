package cli

import (
	"github.com/spf13/cobra"

	"pcluster/internal/config"
)

// configurationOptions are those of commands that act upon a file.
type configurationOptions struct {
	File               string // its path
	Configuration      []byte // its text
	SuppressValidators []string
	FailureLevel       string // INFO, WARNING or ERROR; empty: ERROR
	DryRun             bool
}

func (o *configurationOptions) declareFile(cmd *cobra.Command, option, usage string) {
	flags := cmd.Flags()
	flags.VarP(&fileValue{&o.File, &o.Configuration, config.MaxBytes}, option, "c", usage)
	require(cmd, option)
	flags.Var(manyPatterns(&o.SuppressValidators, "suppress-validators", `^(ALL|type:[A-Za-z0-9]+)$`), "suppress-validators",
		"validators to skip: type:<ValidatorName>, or ALL")
	flags.Var(&choiceValue{[]string{"INFO", "WARNING", "ERROR"}, &o.FailureLevel}, "validation-failure-level",
		"lowest level of a validation message that is a reason to stop; by default ERROR")
	flags.Var(&boolValue{option: "dryrun", target: &o.DryRun}, "dryrun", "only validate the file; by default false")
}
