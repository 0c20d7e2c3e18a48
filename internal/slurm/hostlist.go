package slurm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxExpanded bounds what a hostlist may stand for, so that a typing error does
// not fill the memory. Slurm's own limit is 65,536 names.
const maxExpanded = 1 << 17

// Expand returns the names that a hostlist stands for, in its order:
// q-dy-c-[1-2,5],x is q-dy-c-1, q-dy-c-2, q-dy-c-5 and x.
func Expand(list string) ([]string, error) {
	var names []string
	for _, item := range splitOutside(list) {
		expanded, err := expandItem(item)
		if err != nil {
			return nil, fmt.Errorf("host list %q: %w", list, err)
		}
		names = append(names, expanded...)
		if len(names) > maxExpanded {
			return nil, fmt.Errorf("host list %q stands for more than %d names", list, maxExpanded)
		}
	}
	return names, nil
}

// splitOutside splits at the commas that are not in brackets and drops empty items.
func splitOutside(list string) []string {
	var items []string
	depth, start := 0, 0
	for i, r := range list {
		switch r {
		case '[':
			depth++
		case ']':
			depth--
		case ',':
			if depth == 0 {
				items = append(items, list[start:i])
				start = i + 1
			}
		}
	}
	items = append(items, list[start:])
	return slices.DeleteFunc(items, func(s string) bool { return strings.TrimSpace(s) == "" })
}

// expandItem expands the brackets of one item, from left to right.
func expandItem(item string) ([]string, error) {
	item = strings.TrimSpace(item)
	head, rest, found := strings.Cut(item, "[")
	if !found {
		if strings.ContainsAny(item, "]") {
			return nil, fmt.Errorf("%q has a bracket without its partner", item)
		}
		return []string{item}, nil
	}
	ranges, tail, found := strings.Cut(rest, "]")
	if !found {
		return nil, fmt.Errorf("%q has a bracket without its partner", item)
	}
	tails, err := expandItem(tail)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range strings.Split(ranges, ",") {
		first, last, isRange := strings.Cut(r, "-")
		if !isRange {
			last = first
		}
		lo, err1 := strconv.Atoi(first)
		hi, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || lo < 0 || hi < lo || hi-lo > maxExpanded {
			return nil, fmt.Errorf("%q is no range of numbers", r)
		}
		for n := lo; n <= hi; n++ {
			for _, t := range tails {
				// Leading zeros are part of the name: [008-010].
				names = append(names, fmt.Sprintf("%s%0*d%s", head, len(first), n, t))
			}
		}
	}
	return names, nil
}

// Compress returns a hostlist for the names, sorted and each once. Numbers at the
// end of names are joined into ranges; everything else is listed.
func Compress(names []string) string {
	type group struct {
		prefix  string
		numbers []int
	}
	groups := make(map[string]*group)
	var plain []string
	for _, name := range names {
		prefix, n, ok := cutNumber(name)
		if !ok {
			plain = append(plain, name)
			continue
		}
		if groups[prefix] == nil {
			groups[prefix] = &group{prefix: prefix}
		}
		groups[prefix].numbers = append(groups[prefix].numbers, n)
	}
	items := plain
	for _, g := range groups {
		slices.Sort(g.numbers)
		numbers := slices.Compact(g.numbers)
		if len(numbers) == 1 {
			items = append(items, g.prefix+strconv.Itoa(numbers[0]))
			continue
		}
		items = append(items, g.prefix+"["+ranges(numbers)+"]")
	}
	slices.SortFunc(items, cmp.Compare[string])
	return strings.Join(slices.Compact(items), ",")
}

// cutNumber cuts the number off a name. Numbers with leading zeros stay part of it.
func cutNumber(name string) (prefix string, n int, ok bool) {
	digits := len(name) - len(strings.TrimRight(name, "0123456789"))
	tail := name[len(name)-digits:]
	if digits == 0 || digits > 9 || (digits > 1 && tail[0] == '0') {
		return "", 0, false
	}
	n, err := strconv.Atoi(tail)
	return name[:len(name)-digits], n, err == nil
}

func ranges(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, strconv.Itoa(numbers[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}
