// Package rds plays managed databases as far as a cluster meets one: a MariaDB
// host that answers under the name in the cluster file's accounting section. It
// is a machine of its own, not an EC2 instance, with a network interface in the
// customer's subnet, as RDS has. The RDS API itself is not served.
//
// Start at [Service.Adopt].
package rds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/miekg/dns"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/store"
)

// network is the part of EC2 that gives a database host its address.
type network interface {
	CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput) (*ec2.CreateNetworkInterfaceOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error)
}

// machines boots the hosts.
type machines interface {
	Start(context.Context, machine.Spec) error
	Stop(ctx context.Context, id string) error
	Running() []string
}

// dialer reaches the hosts from the daemon.
type dialer interface {
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// A Host is one database.
type Host struct {
	Name string // DNS name, lower case
	Port int
	Spec machine.Spec
}

// Address returns the host's address in its subnet.
func (h Host) Address() netip.Addr { return h.Spec.Interfaces[0].Addr }

// A Service has the region's databases. Use [New].
type Service struct {
	hosts    *store.Table[Host]
	network  network
	machines machines
	dial     dialer

	boots sync.Mutex // held while a host boots, so that nobody boots it twice
}

// New opens the table of databases. It starts none: see [Service.StartAll].
func New(db *store.DB, n network, m machines, d dialer) (*Service, error) {
	s := &Service{network: n, machines: m, dial: d}
	return s, store.OpenTable(db, "rds.hosts", &s.hosts)
}

// Request describes a database that a cluster file refers to.
type Request struct {
	Name           string // DNS name in the file
	Port           int
	User, Password string
	SubnetID       string
	SecurityGroups []string
	Layers         []string // image with MariaDB in it
	Trust          []machine.File
}

// Adopt boots a MariaDB host that answers under the name, with the user and the
// password, and returns when it takes connections. A name that exists already is
// left as it is.
func (s *Service) Adopt(ctx context.Context, r Request) (Host, error) {
	name := strings.ToLower(r.Name)
	if h, ok := s.hosts.Get(name); ok {
		return h, s.start(ctx, h)
	}
	subnets, err := s.network.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{r.SubnetID}})
	if err != nil {
		return Host{}, err
	}
	prefix, err := netip.ParsePrefix(awssdk.ToString(subnets.Subnets[0].CidrBlock))
	if err != nil {
		return Host{}, err
	}
	eni, err := s.network.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: &r.SubnetID, Groups: r.SecurityGroups, Description: awssdk.String("RDSNetworkInterface"),
	})
	if err != nil {
		return Host{}, err
	}
	addr, err := netip.ParseAddr(awssdk.ToString(eni.NetworkInterface.PrivateIpAddress))
	if err != nil {
		return Host{}, err
	}
	label, _, _ := strings.Cut(name, ".")
	h := Host{Name: name, Port: r.Port, Spec: machine.Spec{
		ID: "db-" + label, Layers: r.Layers, Hostname: label, VCPUs: 2, MemoryMiB: 2048, TypeName: "db.t3.small",
		Interfaces: []machine.Interface{{
			ID:  awssdk.ToString(eni.NetworkInterface.NetworkInterfaceId),
			MAC: awssdk.ToString(eni.NetworkInterface.MacAddress), Addr: addr, Subnet: prefix, GroupIDs: r.SecurityGroups,
		}},
		Files: append(databaseFiles(r), r.Trust...),
	}}
	if err := s.hosts.Put(name, h); err != nil {
		return Host{}, err
	}
	return h, s.start(ctx, h)
}

// databaseFiles make the image's MariaDB a server for the subnet with one
// administrator, as a new RDS instance has.
func databaseFiles(r Request) []machine.File {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace
	return []machine.File{
		{Path: "/etc/cloud/cloud-init.disabled", Mode: 0o644},
		{Path: "/etc/systemd/system/multi-user.target.d/database.conf", Mode: 0o644, Content: []byte("[Unit]\nWants=mariadb.service\n")},
		// What slurmdbd asks of a database (Slurm's Accounting page), within this host's memory.
		{Path: "/etc/mysql/mariadb.conf.d/99-region.cnf", Mode: 0o644, Content: fmt.Appendf(nil, `[mariadbd]
bind-address = 0.0.0.0
port = %d
skip-name-resolve
innodb_buffer_pool_size = 256M
innodb_log_file_size = 64M
innodb_lock_wait_timeout = 900
innodb_flush_log_at_trx_commit = 2
init_file = /etc/mysql/region-users.sql
`, r.Port)},
		{Path: "/etc/mysql/region-users.sql", Mode: 0o644, Content: fmt.Appendf(nil,
			"CREATE USER IF NOT EXISTS '%[1]s'@'%%' IDENTIFIED BY '%[2]s';\nALTER USER '%[1]s'@'%%' IDENTIFIED BY '%[2]s';\nGRANT ALL PRIVILEGES ON *.* TO '%[1]s'@'%%' WITH GRANT OPTION;\n",
			quote(r.User), quote(r.Password))},
	}
}

// start boots the host unless it runs, and waits until it greets.
func (s *Service) start(ctx context.Context, h Host) error {
	if err := s.boot(ctx, h); err != nil {
		return err
	}
	return s.awaitGreeting(ctx, h)
}

func (s *Service) boot(ctx context.Context, h Host) error {
	s.boots.Lock()
	defer s.boots.Unlock()
	if slices.Contains(s.machines.Running(), h.Spec.ID) {
		return nil
	}
	if err := s.machines.Start(ctx, h.Spec); err != nil {
		return fmt.Errorf("boot database host %s: %w", h.Name, err)
	}
	return nil
}

// greetingTimeout is many times what MariaDB needs on a busy host.
const greetingTimeout = 60 * time.Second

// awaitGreeting returns when the server sends its first packet: an open port
// alone does not mean that it takes logins.
func (s *Service) awaitGreeting(ctx context.Context, h Host) error {
	ctx, cancel := context.WithTimeout(ctx, greetingTimeout)
	defer cancel()
	for {
		err := s.greet(ctx, h)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("database host %s does not answer on port %d: %w", h.Name, h.Port, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *Service) greet(ctx context.Context, h Host) error {
	conn, err := s.dial.Dial(ctx, "tcp", netip.AddrPortFrom(h.Address(), uint16(h.Port)).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	var header [5]byte // length (3), sequence (1), protocol version (1)
	if _, err := conn.Read(header[:]); err != nil {
		return err
	}
	return nil
}

// StartAll boots the databases that do not run, for a region that comes up again.
func (s *Service) StartAll(ctx context.Context) error {
	var failed []error
	for _, h := range s.hosts.All() {
		failed = append(failed, s.boot(ctx, h))
	}
	return errors.Join(failed...)
}

// StopAll shuts the databases down, for a region that goes down.
func (s *Service) StopAll(ctx context.Context) error {
	var failed []error
	for _, h := range s.hosts.All() {
		if slices.Contains(s.machines.Running(), h.Spec.ID) {
			failed = append(failed, s.machines.Stop(ctx, h.Spec.ID))
		}
	}
	return errors.Join(failed...)
}

// Hosts returns all databases.
func (s *Service) Hosts() []Host { return s.hosts.All() }

// Exited tells the service that one of its machines ended by itself; the host is
// started again, as a managed database would be. It reports whether the machine
// is one of its.
func (s *Service) Exited(ctx context.Context, e machine.Exit) bool {
	for _, h := range s.hosts.All() {
		if h.Spec.ID == e.ID {
			if e.Reason != machine.Stopped {
				go func() { _ = s.boot(ctx, h) }() // an error shows as a host that does not run
			}
			return true
		}
	}
	return false
}

// Lookup answers for the databases' names in the region's DNS.
func (s *Service) Lookup(name string, qtype uint16, _ netip.Addr) ([]dns.RR, bool) {
	h, ok := s.hosts.Get(strings.ToLower(strings.TrimSuffix(name, ".")))
	if !ok {
		return nil, false
	}
	if qtype != dns.TypeA {
		return nil, true
	}
	return []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5},
		A:   h.Address().AsSlice(),
	}}, true
}
