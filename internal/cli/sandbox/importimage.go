//go:build linux

package sandbox

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"pcluster/internal/sandbox"
)

func newImportImage(home func() sandbox.Home) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "import-image FILE|FOLDER",
		Short: "Make an AMI of a root file system: a tar archive, or an OCI layout",
		Long: "Make an AMI of the root file system in a tar archive, compressed with gzip or not, or of the\n" +
			"image in an OCI layout. It has to have systemd. It can be the parent of images, and its default\n" +
			"user is that of its operating system (admin of Debian, rocky of Rocky Linux, ...), if it is one that a\n" +
			"cluster file can name, in whatever release; else that of the region's own machines.",
		Example: "  pcluster sandbox import-image --name rocky-9 rocky-9.tar.gz",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if name == "" {
				name = filepath.Base(source)
			}
			id, err := sandbox.NewClient(home()).ImportImage(cmd.Context(), name, source)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), id)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the AMI (default the name of the file)")
	return cmd
}
