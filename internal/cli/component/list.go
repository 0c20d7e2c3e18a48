//go:build unix

package component

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"pcluster/internal/component"
	"pcluster/internal/config"
	"pcluster/internal/stack"
)

// A listed component is one that an image file can name.
type listed struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Owner       string `json:"owner"` // self, amazon, pcluster
	Type        string `json:"type"`
	Description string `json:"description"`
	ARN         string `json:"arn,omitempty"`
}

func newList(env Env) *cobra.Command {
	var region, output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the components of the account, of Amazon, and our own",
		Long: "List the newest version of each component that images can have: those of the account, which build-image\n" +
			"takes by their ARN, those of Amazon in this region, and our own, which build-image adds by itself.",
		Example: "  pcluster component list --region eu-west-1",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output has to be text or json, not %q", output)
			}
			cfg, err := env.AWS(cmd.Context(), cmp.Or(region, os.Getenv("AWS_DEFAULT_REGION"), os.Getenv("AWS_REGION")))
			if err != nil {
				return err
			}
			if cfg.Region == "" {
				return errors.New("region needs to be set: use --region or AWS_DEFAULT_REGION")
			}
			all, err := list(cmd.Context(), imagebuilder.NewFromConfig(cfg))
			if err != nil {
				return err
			}
			if output == "json" {
				data, err := json.MarshalIndent(map[string]any{"components": all}, "", "  ")
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), string(data))
				return nil
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tVERSION\tOWNER\tTYPE\tARN OR DESCRIPTION")
			for _, c := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Name, c.Version, c.Owner, c.Type, cmp.Or(c.ARN, c.Description))
			}
			return w.Flush()
		},
	}
	cmd.Flags().StringVarP(&region, "region", "r", "", "AWS Region; by default, that of the environment or profile")
	cmd.Flags().StringVar(&output, "output", "text", "text or json")
	return cmd
}

// list collects components: the account's first, ours last.
func list(ctx context.Context, client imagebuilder.ListComponentsAPIClient) ([]listed, error) {
	all := []listed{}
	for _, owner := range []types.Ownership{types.OwnershipSelf, types.OwnershipAmazon} {
		var found []listed
		pages := imagebuilder.NewListComponentsPaginator(client, &imagebuilder.ListComponentsInput{
			Owner: owner, Filters: []types.Filter{{Name: aws.String("platform"), Values: []string{string(types.PlatformLinux)}}}})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				if api, ok := errors.AsType[smithy.APIError](err); ok {
					err = errors.New(api.ErrorMessage())
				}
				return nil, fmt.Errorf("components of %s: %w", strings.ToLower(string(owner)), err)
			}
			for _, v := range page.ComponentVersionList {
				found = append(found, listed{aws.ToString(v.Name), aws.ToString(v.Version), strings.ToLower(string(owner)), string(v.Type), aws.ToString(v.Description), aws.ToString(v.Arn)})
			}
		}
		all = append(all, newest(found)...)
	}
	ours, err := own()
	return append(all, ours...), err
}

// newest keeps the newest version of each name, in the order of names.
func newest(all []listed) []listed {
	slices.SortStableFunc(all, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), -compareVersions(a.Version, b.Version))
	})
	return slices.CompactFunc(all, func(a, b listed) bool { return a.Name == b.Name })
}

func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		if c := cmp.Or(cmp.Compare(len(as[i]), len(bs[i])), cmp.Compare(as[i], bs[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

// own returns the components that build-image adds: all, or those that the image file
// asks for.
func own() ([]listed, error) {
	documents, err := stack.ImageDocuments()
	if err != nil {
		return nil, err
	}
	var all []listed
	for _, text := range documents {
		doc, problems := component.Parse([]byte(text))
		if err := problems.Err(); err != nil {
			return nil, err
		}
		kind := types.ComponentTypeBuild
		if len(doc.Phases) == 1 && doc.Phase(component.Test) != nil {
			kind = types.ComponentTypeTest
		}
		all = append(all, listed{Name: doc.Name, Version: config.ToolVersion, Owner: "pcluster", Type: string(kind), Description: doc.Description})
	}
	return all, nil
}
