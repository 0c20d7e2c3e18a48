package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestProgramStaysSmall keeps packages out that call methods by name: with one of
// them in the program the linker keeps every method of every AWS client, and the
// program that each booting node may have to fetch grows to four times its size.
func TestProgramStaysSmall(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, bad := range []string{"text/template", "html/template", "net/rpc", "github.com/spf13/cobra"} {
		if slices.Contains(deps, bad) {
			t.Errorf("the node program links %s", bad)
		}
	}
	for _, d := range deps {
		if strings.HasPrefix(d, "pcluster/internal/sandbox") {
			t.Errorf("the node program knows of %s", d)
		}
	}
}
