package cloudformation

import "slices"

// walk calls step for every node of a graph, all at once that can: a node's turn
// comes when step has succeeded for those it waits for. Nodes that deps lacks
// count as done. After a failure, onFailure is called (once), and unless goOn is
// set no further steps are started. walk returns when all started steps have,
// with the errors of those that failed.
func walk(deps map[string][]string, goOn bool, step func(id string) error, onFailure func(id string, err error)) map[string]error {
	waiting := make(map[string]int, len(deps))
	dependents := map[string][]string{}
	var ready []string
	for id, on := range deps {
		n := 0
		for _, d := range on {
			if _, known := deps[d]; known {
				n++
				dependents[d] = append(dependents[d], id)
			}
		}
		waiting[id] = n
		if n == 0 {
			ready = append(ready, id)
		}
	}
	type result struct {
		id  string
		err error
	}
	results := make(chan result)
	failed := map[string]error{}
	for running := 0; ; {
		slices.Sort(ready) // the order of starts is the same each time
		for _, id := range ready {
			running++
			go func() { results <- result{id, step(id)} }()
		}
		ready = ready[:0]
		if running == 0 {
			return failed
		}
		r := <-results
		running--
		if r.err != nil {
			failed[r.id] = r.err
			if len(failed) == 1 && onFailure != nil {
				onFailure(r.id, r.err)
			}
			continue
		}
		for _, id := range dependents[r.id] {
			waiting[id]--
			if waiting[id] == 0 && (goOn || len(failed) == 0) {
				ready = append(ready, id)
			}
		}
	}
}

// reversed returns the graph in which a node waits for those that waited for it.
func reversed(deps map[string][]string) map[string][]string {
	out := make(map[string][]string, len(deps))
	for id := range deps {
		out[id] = nil
	}
	for id, on := range deps {
		for _, d := range on {
			if _, known := deps[d]; known {
				out[d] = append(out[d], id)
			}
		}
	}
	return out
}
