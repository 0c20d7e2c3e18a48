package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/google/go-cmp/cmp"
)

// dieAt lets the service write n times and then die: nothing is stored any more.
// It returns whether that happened.
func (r *rig) dieAt(n int) (died func() bool) {
	var mu sync.Mutex
	writes := 0
	svc := r.Service
	svc.write = func() error {
		mu.Lock()
		defer mu.Unlock()
		writes++
		if writes <= n {
			return nil
		}
		go svc.stop(errClosed)
		return errors.New("killed")
	}
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return writes > n
	}
}

// operations on stacks whose daemon dies after each write it makes. Whatever
// the moment, the next one must bring the operation to the same end.
func TestOperationsSurviveTheDeathOfTheDaemonAtEveryWrite(t *testing.T) {
	start := []string{`Keep : "Size": 1`, `Grow : "Size": 1`, `Swap : "Kind": "a"`, "User < Swap", "Old < Keep"}
	parent, s3 := nestedTemplates(childTemplate)
	for name, tt := range map[string]struct {
		prepare func(*rig)
		operate func(*rig) error
		status  string
		want    []string
		most    int // things that may ever have been made
	}{
		"create": {
			func(*rig) {},
			func(r *rig) error {
				_, err := r.CreateStack(context.Background(), &sdk.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(things("Net", "Disk", "Card < Net", "Box < Card Disk"))})
				return err
			},
			"CREATE_COMPLETE", []string{"Box", "Card", "Disk", "Net"}, 4,
		},
		"create and roll back": {
			func(r *rig) { r.cloud.refuse["create Bad"] = "no room" },
			func(r *rig) error {
				_, err := r.CreateStack(context.Background(), &sdk.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(things("Net", "Card < Net", "Bad < Card"))})
				return err
			},
			"ROLLBACK_COMPLETE", nil, 2,
		},
		"update": {
			func(r *rig) { r.up(start...) },
			func(r *rig) error {
				_, err := r.UpdateStack(context.Background(), &sdk.UpdateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(things(`Keep : "Size": 1`, `Grow : "Size": 2`, `Swap : "Kind": "b"`, "User < Swap", "New < Grow"))})
				return err
			},
			"UPDATE_COMPLETE", []string{"Grow size=2", "Keep size=1", "New", "Swap kind=b", "User"}, 7,
		},
		"update and roll back": {
			func(r *rig) { r.up(start...); r.cloud.refuse["create Bad"] = "no room" },
			func(r *rig) error {
				_, err := r.UpdateStack(context.Background(), &sdk.UpdateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(things(`Keep : "Size": 1`, `Grow : "Size": 2`, `Swap : "Kind": "b"`, "User < Swap", "New < Grow", "Bad < New User"))})
				return err
			},
			"UPDATE_ROLLBACK_COMPLETE", []string{"Grow size=1", "Keep size=1", "Old", "Swap kind=a", "User"}, 7,
		},
		"create nested": {
			func(*rig) {},
			func(r *rig) error {
				_, err := r.CreateStack(context.Background(), &sdk.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(parent)})
				return err
			},
			"CREATE_COMPLETE", []string{"First", "Inner size=7", "Last size=7"}, 3,
		},
		"update nested": {
			func(r *rig) { r.create("s", parent); r.wants("s", "CREATE_COMPLETE") },
			func(r *rig) error {
				_, err := r.UpdateStack(context.Background(), &sdk.UpdateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(strings.Replace(parent, `"Size":7`, `"Size":8`, 1))})
				return err
			},
			"UPDATE_COMPLETE", []string{"First", "Inner size=8", "Last size=8"}, 3,
		},
		"update nested and roll back": {
			func(r *rig) {
				r.create("s", parent)
				r.wants("s", "CREATE_COMPLETE")
				r.cloud.refuse["update Last=8"] = "no room"
			},
			func(r *rig) error {
				_, err := r.UpdateStack(context.Background(), &sdk.UpdateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(strings.Replace(parent, `"Size":7`, `"Size":8`, 1))})
				return err
			},
			"UPDATE_ROLLBACK_COMPLETE", []string{"First", "Inner size=7", "Last size=7"}, 3,
		},
		"delete nested": {
			func(r *rig) { r.create("s", parent); r.wants("s", "CREATE_COMPLETE") },
			func(r *rig) error {
				_, err := r.DeleteStack(context.Background(), &sdk.DeleteStackInput{StackName: aws.String("s")})
				return err
			},
			"DELETE_COMPLETE", nil, 3,
		},
		"delete": {
			func(r *rig) { r.up(start...) },
			func(r *rig) error {
				_, err := r.DeleteStack(context.Background(), &sdk.DeleteStackInput{StackName: aws.String("s")})
				return err
			},
			"DELETE_COMPLETE", nil, 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				if n > 500 {
					t.Fatal("the operation never ends without a death")
				}
				r := newRig(t, Config{Objects: s3})
				tt.prepare(r)
				died := r.dieAt(n)
				if err := tt.operate(r); err != nil && !died() {
					t.Fatal(err)
				}
				id := ""
				for _, st := range r.all() {
					if st.snapshot().Parent == "" {
						id = st.id
					}
				}
				<-r.idleOrDead(id)
				if !died() {
					r.wants(id, tt.status)
					r.close()
					return
				}
				r.restart()
				if r.find(id) == nil || r.find(id).snapshot().Operations == 0 {
					r.close() // died before it began: the request was refused
					continue
				}
				row := r.settled(id)
				if row.Status != tt.status {
					if began := row.Op == nil && row.Operations == 1 && tt.status != "CREATE_COMPLETE" && row.Status == "CREATE_COMPLETE"; began {
						r.close() // the update or deletion had not begun
						continue
					}
					t.Fatalf("death after write %d: stack is %s, want %s; events:\n%s", n, row.Status, tt.status, strings.Join(r.history(id), "\n"))
				}
				if diff := cmp.Diff(tt.want, r.cloud.have()); diff != "" {
					t.Fatalf("death after write %d: things (-want +got):\n%s\nevents:\n%s", n, diff, strings.Join(r.history(id), "\n"))
				}
				if r.cloud.made > tt.most {
					t.Fatalf("death after write %d: %d things were made, want %d at most", n, r.cloud.made, tt.most)
				}
				r.close()
			}
		})
	}
}

// idleOrDead returns a channel that is closed when the stack has no operation,
// or the service has ended.
func (r *rig) idleOrDead(id string) <-chan struct{} {
	done := make(chan struct{})
	svc := r.Service
	go func() {
		defer close(done)
		for {
			changed := svc.bell.next()
			if st := svc.find(id); st == nil || st.snapshot().Op == nil {
				return
			}
			select {
			case <-changed:
			case <-svc.ctx.Done():
				svc.drivers.Wait()
				return
			}
		}
	}()
	return done
}

func TestDeathDuringCreationThenDeletionLeavesNothing(t *testing.T) {
	for n := 1; n < 12; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t, Config{})
			r.cloud.hold["Slow"] = true
			r.dieAt(n)
			if _, err := r.CreateStack(context.Background(), &sdk.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(things("Net", "Slow < Net"))}); err != nil {
				return // died before anything
			}
			id := r.all()[0].id
			r.eventually("death or rest", func() bool {
				slow, _ := r.find(id).resource("Slow")
				return r.ctx.Err() != nil || slow.PhysicalID != ""
			})
			r.close()
			r.open()
			if st := r.find(id); st == nil || st.snapshot().Op == nil {
				return
			}
			// The deletion comes before the daemon went on with the creation.
			r.delete("s")
			r.wants(id, "DELETE_COMPLETE")
			if got := r.cloud.have(); len(got) != 0 {
				t.Errorf("left behind: %v; events:\n%s", got, strings.Join(r.history(id), "\n"))
			}
		})
	}
}
