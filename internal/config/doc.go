// Package config is the language of cluster files: the Go types of every key,
// a reader that knows where each value stands in the file, the implied values,
// and a writer.
//
// Start with [Parse], which turns YAML into a [Cluster] and reports everything
// that is wrong with the document's shape. What is wrong with its meaning, such
// as a subnet that does not exist, is package validate's business. Nothing in
// here asks AWS or reads a clock.
//
// The types drive everything. A key is declared once, as a field of the same
// name, and the field's tags say what else there is to know about it:
//
//	req:"yes"        its section can't be read without it
//	req:"late"       no cluster can be made without it, though the shape is right
//	default:"10"     value when the key is absent
//	implied:"…"      the same in words, where it depends on other keys (implied.go)
//	oneof:"a b c"    allowed values
//	match:"subnet"   name of a pattern (patterns.go); in lists, for each item
//	range:"1..50"    bounds of a number; either end may be missing
//	len:"..128"      bounds of a text's length
//	items:"1.."      bounds of a list's length
//	id:"Name"        the key by which items of a list are matched in an update
//	update:"…"       update policy; in lists of objects, for adding and removing items
//	below:"a.b=…"    update policies of keys further down, where a type has several
//	                 uses; * stands for all keys not named
//	since:"3.6.0"    first ParallelCluster release with the key; later of the
//	                 section's and its own. Absent: 3.0.0
//	only:"slurm"     scheduler that the key belongs to
//	doc:"…"          one sentence for people
//
// A field is a pointer if, and only if, absence of the key says something that
// no value says. All other fields hold their implied value after Parse.
package config
