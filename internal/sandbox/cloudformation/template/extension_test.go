package template

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoopsAreUnrolled(t *testing.T) {
	tpl, err := Parse([]byte(`{"Transform": ["AWS::LanguageExtensions"], "Resources": {
		"Fn::ForEach::Zones": ["Zone", ["a-1", "b-2"], {
			"Group&{Zone}": {"Type": "T", "Properties": {"Name": {"Ref": "Zone"}, "Path": {"Fn::Sub": "/${Zone}/${AWS::Region}"},
				"Fn::ForEach::Inner": ["Key", ["X", "Y"], {"${Key}s": "${Zone}${Key}"}]}}}],
		"Other": {"Type": "T"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(tpl.Resources)), []string{"Groupa1", "Groupb2", "Other"}; !slices.Equal(got, want) {
		t.Fatalf("resources %v, want %v", got, want)
	}
	want := map[string]any{"Name": "a-1", "Path": map[string]any{"Fn::Sub": "/a-1/${AWS::Region}"}, "Xs": "a-1X", "Ys": "a-1Y"}
	if diff := cmp.Diff(want, tpl.Resources["Groupa1"].Properties); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	if got, _ := tpl.Capabilities(); !slices.Equal(got, []string{"CAPABILITY_AUTO_EXPAND"}) {
		t.Errorf("capabilities %v", got)
	}
}

func TestLoopsAreRefused(t *testing.T) {
	for name, tt := range map[string]struct{ loop, want string }{
		"no object":        {`["A", ["x"]]`, "requires an identifier"},
		"no identifier":    {`["", ["x"], {}]`, "must be a string"},
		"a parameter":      {`["A", {"Ref": "P"}, {}]`, "takes none from parameters"},
		"numbers":          {`["A", [1], {"R${A}": {"Type": "T"}}]`, "must be strings"},
		"the same key":     {`["A", ["x", "y"], {"R": {"Type": "T"}}]`, "makes R twice"},
		"somebody's key":   {`["A", ["x"], {"R": {"Type": "T"}}]`, ""},
		"another resource": {`["A", ["x"], {"Z": {"Type": "T"}}]`, "makes Z twice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(`{"Transform": "AWS::LanguageExtensions", "Resources": {"Fn::ForEach::L": ` + tt.loop + `, "Z": {"Type": "T"}}}`))
			if tt.want == "" && err == nil {
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestExtensionsNeedTheirTransform(t *testing.T) {
	for _, expression := range []string{`{"Fn::Length": ["a"]}`, `{"Fn::ToJsonString": {"a": 1}}`} {
		for transform, works := range map[string]bool{"": false, `"Transform": "AWS::LanguageExtensions", `: true} {
			tpl, err := Parse([]byte(`{` + transform + `"Resources": {"A": {"Type": "T", "Properties": {"X": ` + expression + `}}}}`))
			if err != nil {
				t.Fatal(err)
			}
			s := &Scope{Template: tpl}
			if _, err := s.Eval(tpl.Resources["A"].Properties["X"]); (err == nil) != works {
				t.Errorf("%s with transform %q: %v", expression, transform, err)
			}
		}
	}
}
