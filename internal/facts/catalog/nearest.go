package catalog

import "strings"

// Nearest returns the type whose name is closest to name, for "did you mean", or
// "" when nothing is close: a wrong guess misleads more than none.
func Nearest(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	best, bestCost := "", max(2, len(name)/3)+1
	for _, candidate := range contents().names {
		cost := distance(name, candidate, bestCost)
		// At equal cost a type of the same family is what was meant.
		if cost < bestCost || cost == bestCost && best != "" && familyOf(candidate) == familyOf(name) && familyOf(best) != familyOf(name) {
			best, bestCost = candidate, cost
		}
	}
	return best
}

// distance is the number of edits from a to b, where swapping neighbours counts
// once; it gives up, returning more than limit, when it can't be within limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		low := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
			low = min(low, cur[j])
		}
		if low > limit {
			return limit + 1
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
