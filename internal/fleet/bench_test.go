package fleet

import (
	"fmt"
	"testing"
	"time"

	"pcluster/internal/slurm"
)

// BenchmarkPlan is one look at a large fleet in which nothing happens, and one job's
// request among it.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1000, 50000} {
		p := policy(AllOrNothing)
		mem := NewMemory(noon)
		mem.Assigned = make(map[string]Assignment)
		view := &SlurmView{At: noon.Add(time.Hour), Partitions: map[string]string{"q": "UP", "r": "UP"}}
		ec2 := &EC2View{At: noon.Add(time.Hour)}
		for i := range n {
			name := fmt.Sprintf("q-dy-a-%d", i+1)
			id := fmt.Sprintf("i-%d", i)
			mem.Assigned[name] = Assignment{Node: name, Instance: id, Since: noon, Named: true, Seen: true, Ready: true}
			view.Nodes = append(view.Nodes, slurm.Node{Name: name, State: "MIXED+CLOUD", Partitions: []string{"q"}})
			ec2.Instances = append(ec2.Instances, Instance{ID: id, State: "running", Launched: noon})
		}
		b.Run(fmt.Sprintf("look/%d", n), func(b *testing.B) {
			for b.Loop() {
				if do, _ := Plan(Observed{Slurm: view, EC2: ec2}, mem, p, noon.Add(2*time.Hour)); len(do.Nodes) > 0 {
					b.Fatal("a healthy fleet is changed")
				}
			}
		})
		b.Run(fmt.Sprintf("request/%d", n), func(b *testing.B) {
			r := request(job("1", "q-dy-b-[1-4]"))
			for b.Loop() {
				if do, _ := Plan(Observed{Resumed: []Request{r}}, mem, p, noon.Add(2*time.Hour)); len(do.Launch) != 1 {
					b.Fatal("nothing is launched")
				}
			}
		})
	}
}
