package config

import (
	"os"
	"strings"
	"testing"
)

// The published keys of the language, one a line: path, type, required, default,
// update policy, first release, scheduler.
func TestKeysAreThoseOfParallelCluster(t *testing.T) {
	data, err := os.ReadFile("testdata/keys.tsv")
	if err != nil {
		t.Fatal(err)
	}
	// Differences that we chose.
	except := map[string]bool{
		"LoginNodes.Pools[].Ssh.KeyName": true, // gone since 3.15
		"DevSettings.EfaInterfaceType":   true, // its update policy is not published
		"HeadNode.Dcv.Enabled":           false,
	}
	ours := map[string]Key{}
	for _, k := range Keys() {
		if _, twice := ours[k.Path]; twice {
			t.Errorf("%s is declared twice", k.Path)
		}
		ours[k.Path] = k
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		path, typ, required, dflt, update, since, scheduler := f[0], f[1], f[2] != "", f[3], f[4], f[5], f[6]
		k, ok := ours[path]
		delete(ours, path)
		if except[path] {
			continue
		}
		if !ok {
			t.Errorf("%s: missing", path)
			continue
		}
		if typ == "list" && !strings.HasPrefix(k.Type, "list") || typ != "list" && typ != k.Type {
			t.Errorf("%s: type %s, want %s", path, k.Type, typ)
		}
		if k.Required != required {
			t.Errorf("%s: required %v, want %v", path, k.Required, required)
		}
		if string(k.Update) != update {
			t.Errorf("%s: update policy %s, want %s", path, k.Update, update)
		}
		if k.Since != since {
			t.Errorf("%s: since %s, want %s", path, k.Since, since)
		}
		if k.Scheduler != scheduler {
			t.Errorf("%s: scheduler %q, want %q", path, k.Scheduler, scheduler)
		}
		if !strings.Contains(dflt, " ") && dflt != "empty" && dflt != "MinvCpus" && !strings.Contains(dflt, ".") && k.Default != dflt {
			t.Errorf("%s: default %q, want %q", path, k.Default, dflt)
		}
		if strings.Contains(dflt, " ") && k.Implied == "" && k.Default == "" && dflt != "empty map" {
			t.Errorf("%s: no implied value, want %q", path, dflt)
		}
		if k.Doc == "" {
			t.Errorf("%s: no doc", path)
		}
	}
	for path := range ours {
		t.Errorf("%s: not a published key", path)
	}
}
