package wire

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func instanceMemo() *memo {
	f, _ := reflect.TypeFor[ec2types.Instance]().FieldByName("InstanceId")
	return &memo{key: f.Index[0]}
}

func TestMemoKnowsACopyAndNoChange(t *testing.T) {
	m := instanceMemo()
	i := ec2types.Instance{InstanceId: aws.String("i-1"), Tags: []ec2types.Tag{{Key: aws.String("a")}}, State: &ec2types.InstanceState{Name: "running"}}
	m.put(reflect.ValueOf(&i).Elem(), []byte("text"))
	for name, tt := range map[string]struct {
		change func(*ec2types.Instance)
		known  bool
	}{
		"nothing":                    {func(*ec2types.Instance) {}, true},
		"the same ID at other place": {func(i *ec2types.Instance) { i.InstanceId = aws.String("i-1") }, false},
		"another ID":                 {func(i *ec2types.Instance) { i.InstanceId = aws.String("i-2") }, false},
		"no ID":                      {func(i *ec2types.Instance) { i.InstanceId = nil }, false},
		"a text":                     {func(i *ec2types.Instance) { i.InstanceType = "t3.micro" }, false},
		"fewer tags":                 {func(i *ec2types.Instance) { i.Tags = i.Tags[:0] }, false},
		"another state":              {func(i *ec2types.Instance) { i.State = &ec2types.InstanceState{Name: "running"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := i
			tt.change(&c)
			text, ok := m.get(reflect.ValueOf(&c).Elem())
			if ok != tt.known || ok && string(text) != "text" {
				t.Errorf("known: %v, %q", ok, text)
			}
		})
	}
}

func TestMemoIsBounded(t *testing.T) {
	m := instanceMemo()
	first := ec2types.Instance{InstanceId: aws.String("asked for again and again")}
	m.put(reflect.ValueOf(&first).Elem(), []byte("first"))
	for n := range 3 * mostRemembered {
		i := ec2types.Instance{InstanceId: aws.String(fmt.Sprint(n))}
		m.put(reflect.ValueOf(&i).Elem(), nil)
		if _, ok := m.get(reflect.ValueOf(&first).Elem()); !ok {
			t.Fatalf("forgotten after %d others", n)
		}
	}
	if n := len(m.recent) + len(m.older); n > mostRemembered {
		t.Errorf("%d are remembered", n)
	}
}
