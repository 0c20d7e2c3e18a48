package ec2

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// A request may lack any member and contain any nonsense: it gets an answer or an
// error, and leaves the region in order.
func TestNoRequestBreaksAnything(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	id := r.run1(r.request(1))
	lt := ok[*sdk.CreateLaunchTemplateOutput](t)(r.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("name"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: &r.image},
	}))
	eni := ok[*sdk.CreateNetworkInterfaceOutput](t)(r.CreateNetworkInterface(ctx, &sdk.CreateNetworkInterfaceInput{SubnetId: &r.subnet}))
	eip := ok[*sdk.AllocateAddressOutput](t)(r.AllocateAddress(ctx, &sdk.AllocateAddressInput{}))
	vol := ok[*sdk.CreateVolumeOutput](t)(r.CreateVolume(ctx, &sdk.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(1)}))
	g := generator{
		random: rand.New(rand.NewPCG(1, 2)),
		words: []string{
			id, r.image, r.subnet, r.group, *lt.LaunchTemplate.LaunchTemplateId, *eni.NetworkInterface.NetworkInterfaceId, *eip.AllocationId, *vol.VolumeId,
			*r.subnets.get(r.subnet).VpcId, *r.routes.all()[0].RouteTableId, *r.gateways.all()[0].InternetGatewayId,
			"name", "", "x", "i-0123456789abcdef0", "10.0.1.0/24", "10.0.9.0/24", "0.0.0.0/0", "10.0.1.77", "us-east-1a", "us-east-1b", "tcp", "-1", "/dev/sdf",
			"$Latest", "1", "t3.micro", "c5.large", "gp3", "io1", "instance", "volume", "spot", "instant", "true", "self", "tag:Name", "instance-id", "*",
			"AAAA", "available", "cluster", "efa", "node",
		},
	}
	service := reflect.ValueOf(r.Service)
	shown := newBothForms(t, r)
	tried, answered := 0, map[string]bool{}
	for m := range service.NumMethod() {
		method := service.Type().Method(m)
		if method.Type.NumIn() != 3 || !strings.HasSuffix(method.Type.In(2).String(), method.Name+"Input") {
			continue
		}
		for n := range 150 {
			in := reflect.New(method.Type.In(2).Elem())
			if n > 0 {
				g.fill(in.Elem(), 0)
			}
			call(t, r, method.Name, service.Method(m), in, answered)
			tried++
		}
		r.settle()
		shown.check(t, method.Name)
	}
	t.Logf("%d requests, %d operations gave answers", tried, len(answered))
	if len(answered) < 50 {
		t.Errorf("only %d operations ever gave an answer", len(answered))
	}
	r.settle()
	r.checkOrder(t)
}

func call(t *testing.T, r *testRegion, name string, method, in reflect.Value, answered map[string]bool) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%s panics: %v\n%+v", name, p, in.Elem().Interface())
		}
	}()
	// Sleep-free: whatever waits for machines would wait for us.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out := method.Call([]reflect.Value{reflect.ValueOf(ctx), in})
	if err, _ := out[1].Interface().(error); err == nil {
		answered[name] = true
	}
}

// checkOrder checks what must hold of the tables at any time.
func (r *testRegion) checkOrder(t *testing.T) {
	t.Helper()
	owner := map[string]string{}
	for _, eni := range r.enis.all() {
		for _, addr := range privateAddrs(eni) {
			if other, ok := owner[addr.String()]; ok {
				t.Errorf("%s is on %s and %s", addr, other, *eni.NetworkInterfaceId)
			}
			owner[addr.String()] = *eni.NetworkInterfaceId
			if r.addrs.find(addr) != *eni.NetworkInterfaceId {
				t.Errorf("%s of %s is not in the address book", addr, *eni.NetworkInterfaceId)
			}
		}
		if a := eni.Attachment; a != nil && r.instances.get(*a.InstanceId) == nil {
			t.Errorf("%s is attached to %s, which is not there", *eni.NetworkInterfaceId, *a.InstanceId)
		}
	}
	if len(r.addrs.owner) != len(owner) {
		t.Errorf("%d addresses in the book, %d on interfaces", len(r.addrs.owner), len(owner))
	}
	for _, v := range r.volumes.all() {
		for _, a := range v.Desc.Attachments {
			if i := r.instances.get(*a.InstanceId); i == nil || i.state() == types.InstanceStateNameTerminated {
				t.Errorf("%s is attached to %s, which is gone", *v.Desc.VolumeId, *a.InstanceId)
			}
		}
	}
	for _, i := range r.instances.all() {
		_, up := r.machines.up[instanceKey(i)]
		if running := i.state() == types.InstanceStateNameRunning; up != running {
			t.Errorf("%s is %s, its machine up: %v", instanceKey(i), i.state(), up)
		}
		if got := len(r.interfacesOf(instanceKey(i))); got != len(i.Desc.NetworkInterfaces) {
			t.Errorf("%s shows %d interfaces and has %d", instanceKey(i), len(i.Desc.NetworkInterfaces), got)
		}
	}
	for _, subnet := range r.subnets.all() {
		if r.vpcs.get(*subnet.VpcId) == nil {
			t.Errorf("%s lies in %s, which is not there", *subnet.SubnetId, *subnet.VpcId)
		}
	}
}

// A generator fills requests with nonsense that is half plausible.
type generator struct {
	random *rand.Rand
	words  []string
}

func (g generator) fill(v reflect.Value, depth int) {
	for i := range v.NumField() {
		f := v.Field(i)
		if !f.CanSet() || g.random.IntN(3) == 0 || v.Type().Field(i).Name == "DryRun" {
			continue
		}
		g.value(f, depth)
	}
}

func (g generator) value(f reflect.Value, depth int) {
	switch f.Kind() {
	case reflect.Pointer:
		if depth > 5 {
			return
		}
		f.Set(reflect.New(f.Type().Elem()))
		g.value(f.Elem(), depth+1)
	case reflect.Struct:
		if f.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		g.fill(f, depth+1)
	case reflect.Slice:
		if f.Type().Elem().Kind() == reflect.Uint8 {
			f.SetBytes([]byte("bytes"))
			return
		}
		n := g.random.IntN(3)
		f.Set(reflect.MakeSlice(f.Type(), n, n))
		for i := range n {
			g.value(f.Index(i), depth+1)
		}
	case reflect.String:
		f.SetString(g.words[g.random.IntN(len(g.words))])
	case reflect.Bool:
		f.SetBool(g.random.IntN(2) == 0)
	case reflect.Int32, reflect.Int64:
		f.SetInt([]int64{-1, 0, 1, 2, 5, 22, 40, 100, 65536}[g.random.IntN(9)])
	case reflect.Float64:
		f.SetFloat(float64(g.random.IntN(3)))
	default:
		panic(fmt.Sprintf("no nonsense of kind %s", f.Kind()))
	}
}
