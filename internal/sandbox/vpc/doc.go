// Package vpc is the network of a region: one network namespace that holds every
// address, with machines attached by routed veth pairs.
//
// There is no bridge. Each network interface of a machine is a veth whose other
// end lies in the region's namespace with a host route to it and proxy ARP, so
// that all traffic between machines is forwarded by one router and security
// groups are one chain with connection tracking. The router also holds the
// addresses of the region's services (metadata, DNS, AWS endpoint) and of each
// subnet's gateway and resolver. Addresses that nobody has swallow packets in
// silence, as in EC2; nothing shows in the host's own network. What machines reach of
// the world outside is behind one address, [OutsideAddr], whose listeners are the
// daemon's; security groups hold for it.
//
// The daemon reaches into the namespace with [Network.Listen] and
// [Network.Dial]; such connections are not subject to security groups. The
// namespace, its machines and its rules outlive the daemon: [Up] finds them
// again, [Network.Down] removes them.
package vpc
