package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A part is software of images that can be chosen, or is known not to be. Build's
// Installation chooses where it has a key, and ParallelCluster's attributes
// (DevSettings.Cookbook.ExtraChefAttributes) have the last word, as they have there:
//
//	{"cluster": {"efa": {"enabled": "no"}}}
//
// ParallelCluster's own attributes are those of lustre and nvidia.
type part struct {
	name   string
	on     func(*Installation) bool // nil: installed unless attributes say no
	needed string                   // why nodes can't do without it; empty: they can
}

var parts = []part{
	{name: "dcv"},
	{name: "efa"},
	{name: "efs"},
	{name: "lustre", on: func(i *Installation) bool { return i == nil || i.LustreClient.Enabled }},
	{name: "munge", needed: "the daemons of Slurm know one another by it"},
	{name: "nfs", needed: "nodes mount by it what the head node exports"},
	{name: "nvidia", on: func(i *Installation) bool { return i != nil && i.NvidiaSoftware.Enabled }},
	{name: "pmix"},
	{name: "slurm", needed: "it is what nodes are for"},
}

// optionalParts are the names of software that images can go without.
func optionalParts() []string {
	var out []string
	for _, p := range parts {
		if p.needed == "" {
			out = append(out, p.name)
		}
	}
	return out
}

// Installs says whether an image gets the software of that name: dcv, efa, efs, lustre,
// munge, nfs, nvidia, pmix or slurm.
func (f *ImageFile) Installs(name string) bool {
	i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
	if i < 0 {
		return false
	}
	p := parts[i]
	on := p.on == nil || p.on(f.Build.Installation)
	if p.needed == "" {
		for _, c := range f.choices() {
			if c.group == name && c.key == enabled && c.below == chefCluster {
				if v, ok := yesOrNo(c.value); ok {
					on = v
				}
			}
		}
	}
	return on
}

// enabled is the attribute that chooses software, below the attributes of a cluster.
const (
	enabled     = "enabled"
	chefCluster = "cluster"
)

// A choice is an attribute which chooses, or looks as if it should.
type choice struct {
	below, group, key string
	value             any
}

// choices returns the attributes whose name is enabled, whatever the case, two and three
// levels down.
func (f *ImageFile) choices() (out []choice) {
	var attributes map[string]any
	if json.Unmarshal([]byte(f.DevSettings.Cookbook.ExtraChefAttributes), &attributes) != nil {
		return nil // whose shape is judged elsewhere
	}
	collect := func(below string, groups map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(groups)) {
			group, _ := groups[name].(map[string]any)
			for _, key := range slices.Sorted(maps.Keys(group)) {
				if strings.EqualFold(key, enabled) {
					out = append(out, choice{below, name, key, group[key]})
				}
			}
		}
	}
	collect("", attributes)
	groups, _ := attributes[chefCluster].(map[string]any)
	collect(chefCluster, groups)
	return out
}

// yesOrNo reads a value as ParallelCluster's attributes have it.
func yesOrNo(v any) (on, ok bool) {
	switch v {
	case true, "yes":
		return true, true
	case false, "no":
		return false, true
	}
	return false, false
}

// A ChoiceProblem is what is wrong with an attribute that chooses software.
type ChoiceProblem struct{ Message, Hint string }

// CheckChoices says what is wrong with the attributes that choose software of the image.
func (f *ImageFile) CheckChoices() (out []ChoiceProblem) {
	for _, c := range f.choices() {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == c.group })
		name := join(join(c.below, c.group), c.key)
		errorf := func(hint, format string, args ...any) {
			out = append(out, ChoiceProblem{fmt.Sprintf(format, args...), hint})
		}
		on, ok := yesOrNo(c.value)
		switch {
		case i < 0 && c.below == "":
			// Attributes of other cookbooks than ParallelCluster's.
		case i < 0:
			hint := "software that can be chosen: " + strings.Join(optionalParts(), ", ")
			if near := nearest(c.group, optionalParts()); near != "" {
				hint = "did you mean " + near + "?"
			}
			errorf(hint, "%s chooses nothing: there is no software %s", name, quote(c.group))
		case c.below == "" || c.key != enabled:
			errorf(fmt.Sprintf("write %s.%s.%s", chefCluster, c.group, enabled), "%s chooses nothing", name)
		case !ok:
			shown, _ := json.Marshal(c.value) // it was read as JSON
			errorf("", `%s has to be "yes" or "no", not %s`, name, shown)
		case !on && parts[i].needed != "":
			errorf("remove it; DevSettings.DisablePclusterComponent leaves out all that makes an image one for clusters",
				"%s can't be no: %s", name, parts[i].needed)
		}
	}
	return out
}
