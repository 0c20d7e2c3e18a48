package ec2_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/ec2"
	"pcluster/internal/sandbox/image"
	"pcluster/internal/sandbox/imds"
	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/vpc"
)

type node struct{}

func (node) InstanceProfileRole(context.Context, string) (string, string, string, string, error) {
	return "arn:aws:iam::111122223333:instance-profile/node", "AIPANODE", "arn:aws:iam::111122223333:role/node", "node", nil
}

func (node) RoleCredentials(context.Context, string, string) (string, string, string, time.Time, error) {
	return "ASIANODE", "secret", "token", time.Now().Add(time.Hour), nil
}

// A real machine, with Debian's own cloud-init: it finds its metadata, runs its
// user data, lets its user in, and ends its instance by shutting itself down.
func TestRealMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine: not in short mode")
	}
	if os.Geteuid() != 0 {
		t.Skip("booting machines needs root")
	}
	for _, tool := range []string{"systemd-nspawn", "mmdebstrap", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("booting machines needs %s", tool)
		}
	}
	ctx := t.Context()
	base, err := image.Base(ctx, "/var/cache/pcluster/images", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir, name, id := t.TempDir(), fmt.Sprintf("ec2test-%d", os.Getpid()), region.NewIdentity("", "")
	network, err := vpc.Up(ctx, vpc.Config{Name: name, Dir: filepath.Join(dir, "network"), Identity: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = network.Down(context.Background()) })
	exits := make(chan machine.Exit, 10)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	machines, err := machine.New(machine.Config{
		Name: name, Dir: filepath.Join(dir, "machines"), Network: network, Log: log, OnExit: func(e machine.Exit) { exits <- e },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machines.RemoveAll(context.Background()); err != nil {
			t.Error(err)
		}
		_ = machines.Close()
	})
	s, err := ec2.New(store.Memory(), id, ec2.Config{
		Dir: filepath.Join(dir, "ec2"), Machines: machines, Network: network, Profiles: node{}, Log: log,
		BaseLayers: func(context.Context) ([]string, error) { return base, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	go func() {
		for e := range exits {
			s.Exited(ctx, e)
		}
	}()
	t.Cleanup(func() { close(exits) })
	if err := s.ResumeAll(ctx); err != nil {
		t.Fatal(err)
	}
	listener, err := network.Listen("tcp", vpc.MetadataAddr+":80")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: imds.New(s, node{})}
	go func() { _ = srv.Serve(listener) }()
	t.Cleanup(func() { _ = srv.Close() })
	if err := network.ServeDNS(s); err != nil {
		t.Fatal(err)
	}

	const subnet, group, ami = "subnet-076ece71c00742d3c", "sg-0123456789abcdef0", "ami-042559ee751d3e522"
	if err := s.AdoptSubnet(ctx, subnet, "10.0.1.0/24"); err != nil {
		t.Fatal(err)
	}
	if err := s.AdoptSecurityGroup(ctx, group, subnet); err != nil {
		t.Fatal(err)
	}
	if err := s.AdoptImage(ctx, ami, "image", "rocky9", nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.AdoptKeyPair(ctx, "me"); err != nil {
		t.Fatal(err)
	}
	script := `#!/bin/sh
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
get() { curl -sf -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/meta-data/$1; }
{
	echo "id=$(get instance-id) host=$(hostname) role=$(get iam/security-credentials/)"
	echo "ptr=$(dig +short -x 10.0.1.4) keys=$(wc -l < ~rocky/.ssh/authorized_keys) v1=$(curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/)"
	echo "cpus=$(grep -c ^processor /proc/cpuinfo) disk=$(lsblk -bno SIZE /dev/sdf 2>/dev/null || blockdev --getsize64 /dev/sdf)"
} > /dev/console
shutdown -h now
`
	began := time.Now()
	out, err := s.RunInstances(ctx, &sdk.RunInstancesInput{
		ImageId: aws.String(ami), InstanceType: "m5.8xlarge", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), KeyName: aws.String("me"),
		SubnetId: aws.String(subnet), SecurityGroupIds: []string{group}, InstanceInitiatedShutdownBehavior: "terminate",
		IamInstanceProfile:  &types.IamInstanceProfileSpecification{Name: aws.String("node")},
		UserData:            aws.String(base64.StdEncoding.EncodeToString([]byte(script))),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(3)}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	instance := *out.Instances[0].InstanceId
	state := types.InstanceStateNamePending
	for state != types.InstanceStateNameTerminated {
		if time.Since(began) > 10*time.Minute {
			t.Errorf("instance is %s after ten minutes", state)
			break
		}
		time.Sleep(20 * time.Millisecond)
		now, err := s.DescribeInstances(ctx, &sdk.DescribeInstancesInput{InstanceIds: []string{instance}})
		if err != nil {
			t.Fatal(err)
		}
		i := now.Reservations[0].Instances[0]
		if i.State.Name != state {
			state = i.State.Name
			t.Logf("%v: %s", time.Since(began).Round(time.Millisecond), state)
		}
		if state == types.InstanceStateNameTerminated && *i.StateReason.Code != "Client.InstanceInitiatedShutdown" {
			t.Errorf("ended because of %s", *i.StateReason.Message)
		}
	}
	console, err := s.GetConsoleOutput(ctx, &sdk.GetConsoleOutputInput{InstanceId: &instance})
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.StdEncoding.DecodeString(*console.Output)
	text := strings.ReplaceAll(string(raw), "\r", "")
	for _, want := range []string{
		"id=" + instance + " host=ip-10-0-1-4 role=node",
		"ptr=ip-10-0-1-4.ec2.internal. keys=1 v1=401",
		"cpus=32 disk=3221225472",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("console lacks %q:\n%s", want, text)
		}
	}
	if addr := netip.MustParseAddr("10.0.1.4"); s.VPCOf(addr) != "" {
		t.Errorf("%s is still in use", addr)
	}
}
