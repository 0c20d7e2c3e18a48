package config

import (
	"slices"
	"strings"
	"testing"
)

// chooser is an image file with attributes, and perhaps with an Installation.
func chooser(t *testing.T, attributes, installation string) *ImageFile {
	t.Helper()
	f, found := ParseImage("", []byte("Build: {InstanceType: c5.xlarge, ParentImage: ami-0a0a0a0a"+installation+"}\nDevSettings: {Cookbook: {ExtraChefAttributes: '"+attributes+"'}}\n"))
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSoftwareOfAnImageIsChosen(t *testing.T) {
	const usual = "dcv efa efs lustre munge nfs pmix slurm"
	without := func(name string) string { return strings.Replace(usual+" ", name+" ", "", 1) }
	for name, tt := range map[string]struct{ attributes, installation, want string }{
		"nothing said":                      {`{}`, "", usual},
		"other attributes":                  {`{"cluster": {"efa": {"version": "1.50.0"}, "a": 1}, "efa": 2}`, "", usual},
		"no DCV":                            {`{"cluster": {"dcv": {"enabled": "no"}}}`, "", without("dcv")},
		"no EFA, by a boolean":              {`{"cluster": {"efa": {"enabled": false}}}`, "", without("efa")},
		"no EFS":                            {`{"cluster": {"efs": {"enabled": "no"}}}`, "", without("efs")},
		"no PMIx":                           {`{"cluster": {"pmix": {"enabled": "no"}}}`, "", without("pmix")},
		"no Lustre":                         {`{"cluster": {"lustre": {"enabled": "no"}}}`, "", without("lustre")},
		"no Lustre, by Installation":        {`{}`, ", Installation: {LustreClient: {Enabled: false}}", without("lustre")},
		"attributes have the last word":     {`{"cluster": {"lustre": {"enabled": "yes"}}}`, ", Installation: {LustreClient: {Enabled: false}}", usual},
		"NVIDIA":                            {`{"cluster": {"nvidia": {"enabled": true}}}`, "", usual + " nvidia"},
		"NVIDIA, by Installation":           {`{}`, ", Installation: {NvidiaSoftware: {Enabled: true}}", usual + " nvidia"},
		"NVIDIA, unsaid":                    {`{"cluster": {"nvidia": {"enabled": "no"}}}`, ", Installation: {NvidiaSoftware: {Enabled: true}}", usual},
		"what nodes need stays":             {`{"cluster": {"nfs": {"enabled": "no"}, "munge": {"enabled": false}, "slurm": {"enabled": "no"}}}`, "", usual},
		"value that is none":                {`{"cluster": {"efa": {"enabled": []}}}`, "", usual},
		"attributes of another cookbook":    {`{"efa": {"enabled": "no"}}`, "", usual},
		"attributes that are not an object": {`[1]`, "", usual},
	} {
		f := chooser(t, tt.attributes, tt.installation)
		var got []string
		for _, p := range parts {
			if f.Installs(p.name) {
				got = append(got, p.name)
			}
		}
		want := strings.Fields(tt.want)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if chooser(t, `{"cluster": {"chef": {"enabled": "yes"}}}`, "").Installs("chef") {
		t.Error("software that nobody knows is installed")
	}
}

func TestChoicesThatAreNone(t *testing.T) {
	for attributes, want := range map[string][]string{
		`{"cluster": {"lustre": {"enabled": "no"}, "nvidia": {"enabled": false}, "slurm": {"enabled": "yes"}}}`: nil,
		`{"cluster": {"dcv_enabled": "head_node", "slurm": {"version": "x"}}, "yum": {"enabled": 1}}`:           nil,
		`{"cluster": {"lustr": {"enabled": "no"}}}`:                                                             {`cluster.lustr.enabled chooses nothing: there is no software "lustr" (did you mean lustre?)`},
		`{"cluster": {"intel_mpi": {"enabled": "no"}}}`:                                                         {`cluster.intel_mpi.enabled chooses nothing: there is no software "intel_mpi" (software that can be chosen: dcv, efa, efs, lustre, nvidia, pmix)`},
		`{"cluster": {"efa": {"Enabled": "no"}}}`:                                                               {`cluster.efa.Enabled chooses nothing (write cluster.efa.enabled)`},
		`{"efa": {"enabled": "no"}}`:                                                                            {`efa.enabled chooses nothing (write cluster.efa.enabled)`},
		`{"cluster": {"efa": {"enabled": "false"}}}`:                                                            {`cluster.efa.enabled has to be "yes" or "no", not "false"`},
		`{"cluster": {"efa": {"enabled": {"a": [null]}}}}`:                                                      {`cluster.efa.enabled has to be "yes" or "no", not {"a":[null]}`},
		`{"cluster": {"nfs": {"enabled": "no"}, "munge": {"enabled": false}, "slurm": {"enabled": "no"}}}`: {
			"cluster.munge.enabled can't be no: the daemons of Slurm know one another by it", "cluster.nfs.enabled can't be no: nodes mount by it", "cluster.slurm.enabled can't be no: it is what"},
	} {
		got := chooser(t, attributes, "").CheckChoices()
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %q", attributes, got, want)
			continue
		}
		for i := range want {
			text := got[i].Message
			if got[i].Hint != "" {
				text += " (" + got[i].Hint + ")"
			}
			if !strings.HasPrefix(text, want[i]) {
				t.Errorf("%s: %s, want %s", attributes, text, want[i])
			}
		}
	}
}
