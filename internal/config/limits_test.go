package config

import (
	"fmt"
	"strings"
	"testing"
)

// Without bounds, each of these takes minutes or gigabytes, and larger ones of
// the kind the whole stack.
func TestFilesBeyondTheBoundsAreRefused(t *testing.T) {
	many := func(format string) string {
		var b strings.Builder
		for i := range 30_000 {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 30 {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9))
	}
	merges := "a0: &a0 {x: 1}\n"
	for i := range 60 {
		merges += fmt.Sprintf("a%d: &a%d {<<: *a%d, l%d: *a%d, r%d: *a%d}\n", i+1, i+1, i, i, i, i, i)
	}
	queues := "c: &c\n" + strings.Repeat("  - {Name: c}\n", 4000) +
		"Scheduling:\n  SlurmQueues:\n" + strings.Repeat("    - {ComputeResources: *c}\n", 4000)
	for _, test := range []struct{ name, text, want string }{
		{"large", "a: " + strings.Repeat("x", 10<<20), "more than the 1048576 (1 MiB) that are read"},
		{"open lists", "a: " + strings.Repeat("[", 100_000), "more than 100 deep"},
		{"lists", "a: " + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), "more than 100 deep"},
		{"mappings", "a: " + strings.Repeat("{a: ", 100_000), "more than 100 deep"},
		{"hyphens", strings.Repeat("- ", 100_000), "more than 100 deep"},
		{"question marks", strings.Repeat("? ", 100_000), "more than 100 deep"},
		{"question marks in a list", "a: [" + strings.Repeat("? ", 100_000) + "]", "did not find expected node content"},
		{"colons", "a" + strings.Repeat(": a", 100_000), "mapping values are not allowed in this context"},
		{"colons in a list", "a: [a" + strings.Repeat(": a", 100_000) + "]", "did not find expected ',' or ']'"},
		{"anchors", "a: " + strings.Repeat("&a ", 100_000) + "a", "did not find expected key"},
		{"tags", "a: " + strings.Repeat("!!str ", 100_000) + "a", "did not find expected key"},
		{"keys", many("k%d: 1\n"), "more than 5000 items"},
		{"keys in braces", "a: {" + many("k%d: 1, ") + "}", "more than 5000 items"},
		{"values without keys", "a: " + strings.Repeat(`"" `, 100_000), "did not find expected key"},
		{"values without any key", strings.Repeat(`"" `, 100_000), "did not find expected <document start>"},
		{"empty lines", "a: >\n" + strings.Repeat("  \n", 100_000), "more than 500 empty lines"},
		{"items", many("- %d\n"), "more than 5000 items"},
		{"aliases of aliases", laughs, "more than 200000 values"},
		{"merges of merges", merges, "more than 200000 values"},
		{"sections behind aliases", queues, "more than 200000 values"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, found := Parse("", []byte(test.text))
			p, bad := found.Malformed()
			if c != nil || !bad || !strings.Contains(p.Message, test.want) {
				t.Errorf("%.300v", found)
			}
			if f, found := ParseImage("", []byte(test.text)); f != nil || len(found) == 0 {
				t.Errorf("as image file: %.300v", found)
			}
		})
	}
}

// What stands side by side is not deep, however much there is of it.
func TestWideFilesAreRead(t *testing.T) {
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, "%s: {a: &x%d [1, [2, 3]], b: !!str x}\n", strings.Repeat("k", i+1), i)
	}
	b.WriteString("list: [" + strings.Repeat("{a: 1}, !!str b, ", 1000) + "]\n")
	if _, found := ReadYAML([]byte(b.String()), "It"); len(found) > 0 {
		t.Errorf("%.300v", found)
	}
}

func TestBytesThatAreNoText(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "configuration is required and cannot be empty"},
		{"only blanks", " \n\t\n", "configuration is required and cannot be empty"},
		{"only comments", "# a\n\n  # b\n", "configuration is required and cannot be empty"},
		{"only a mark", "\ufeff", "configuration is required and cannot be empty"},
		{"little-endian UTF-16", "\xff\xfeI\x00m\x00", "It is in UTF-16"},
		{"big-endian UTF-16", "\xfe\xff\x00I\x00m", "It is in UTF-16"},
		{"UTF-16 without a mark", "I\x00m\x00:\x00", "Line 1 has a zero byte"},
		{"Latin-1", "Region: us-east-1\nImage: {Os: caf\xe9}\n", "Line 2 is not UTF-8"},
		{"a program", "\x7fELF\x02\x01\x01\x00", "Line 1 has a zero byte"},
		{"prose", "Dear Sir or Madam,\nwhere is my cluster?\n", "It has to be a mapping of keys to values, but it is text."},
		{"JSON cut short", `{"Region": "us-east-1"`, "Configuration must be a valid YAML document."},
	} {
		c, found := Parse("", []byte(test.text))
		p, bad := found.Malformed()
		if c != nil || !bad || !strings.Contains(p.Message, test.want) {
			t.Errorf("%s: %v", test.name, found)
		}
	}
}

func FuzzParseImage(f *testing.F) {
	f.Add([]byte("Image: {Name: a}\nBuild: {InstanceType: c5.large, ParentImage: ami-12345678}\n"))
	f.Add([]byte("Build: &a {<<: [*a], Components: [{Type: script, Value: 'https://a/b'}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if file, found := ParseImage("", data); file == nil && len(found) == 0 {
			t.Fatal("neither file nor problem")
		}
		IsImageFile(data)
	})
}
