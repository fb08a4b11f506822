package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime/debug"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// memory is what the process may take before it collects garbage at any price, in
// bytes.
const memory = 128 << 20

// maxConfig bounds the configuration, in bytes.
const maxConfig = 4 << 20

// Main is the process: it reads a [Config], as JSON, from standard input, brings
// the network up, says [Ready], and stays until the machine's first process ends.
func Main() int {
	// Others must not reach into this process, which holds what the machine lacks.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	debug.SetMemoryLimit(memory)
	if err := start(os.Stdin); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(Ready)
	os.Stdout.Close()
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: machineFD, Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return 0
		}
	}
}

// start brings the network up. What it starts lives as long as the process.
func start(config io.Reader) error {
	var c Config
	if err := json.NewDecoder(io.LimitReader(config, maxConfig)).Decode(&c); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	p, err := newPolicy(c)
	if err != nil {
		return err
	}
	p.local = isLocal
	fw, err := newFirewall(netnsFD, p)
	if err != nil {
		return fmt.Errorf("nftables in the machine's network namespace: %w; if the kernel has it as modules, load them: modprobe -a nf_tables nft_reject_inet nft_ct", err)
	}
	p.changed = func(added, gone []netip.Addr) {
		if len(added)+len(gone) > 0 {
			_ = fw.allow(added, gone) // if it fails, the machine reaches less, or this process says no
		}
	}
	r := &resolver{policy: p, conf: &resolvConf{path: c.Resolv}}
	if _, err := newLink(tapFD, p, r); err != nil {
		return err
	}
	ctx := context.Background()
	for name := range p.names {
		go r.refresh(ctx, name)
	}
	go r.expire(ctx)
	return nil
}

// isLocal reports whether the kernel would deliver packets for the address to
// this host itself; what cannot be told counts as that.
func isLocal(a netip.Addr) bool {
	routes, err := netlink.RouteGet(a.AsSlice())
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
		return false // dialling it fails
	}
	if err != nil || len(routes) == 0 {
		return true
	}
	return routes[0].Type != unix.RTN_UNICAST
}
