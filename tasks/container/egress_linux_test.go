package container

import (
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/container/uplink"
)

// TestEgress starts machines with each kind of network in a world of network
// namespaces, has each try to reach everything there, and looks at both ends: at
// what the machine got, and at what arrived.
func TestEgress(t *testing.T) {
	for name, tc := range map[string]struct {
		network *backend.Network
		reached []string // both by the machine and at the other end
		names   []string // that resolve, in the machine
		asked   []string // at the world's name server
	}{
		"none":      {},
		"no list":   {network: &backend.Network{}},
		"hosts":     {&backend.Network{AllowHosts: []string{"Allowed.test", "rebind.test", "*.wild.test"}}, []string{"allowed icmp", "allowed tcp", "allowed udp"}, []string{"allowed.test", "rebind.test", "sub.wild.test"}, []string{"allowed.test.", "rebind.test.", "sub.wild.test."}},
		"cidrs":     {&backend.Network{AllowCIDRs: []string{"10.77.1.0/24"}}, []string{"allowed icmp", "allowed tcp", "allowed udp"}, nil, nil},
		"all cidrs": {&backend.Network{AllowCIDRs: []string{"0.0.0.0/0"}}, open, nil, []string{"allowed.test."}},
		"one by one": {&backend.Network{AllowCIDRs: []string{"169.254.169.254", "10.77.1.1/32"}}, []string{
			"host icmp", "host tcp", "host udp", "metadata icmp", "metadata tcp", "metadata udp",
		}, nil, nil},
		"hosts and cidrs": {&backend.Network{AllowHosts: []string{"also.allowed.test"}, AllowCIDRs: []string{"10.77.1.2"}}, []string{
			"allowed icmp", "allowed tcp", "allowed udp", "denied icmp", "denied injected", "denied tcp", "denied udp",
		}, []string{"also.allowed.test"}, []string{"also.allowed.test."}},
		"open": {&backend.Network{Open: true}, open, []string{"allowed.test", "also.allowed.test", "denied.test", "rebind.test", "sub.wild.test"}, []string{"allowed.test.", "also.allowed.test.", "denied.test.", "rebind.test.", "sub.wild.test."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := newWorld(t)
			b.conf.ResolvConf = w.resolvConf()
			b.create(backend.Spec{Name: "m", MemoryMiB: 128, Network: tc.network})
			w.onHost(func() {
				if err := b.Start(t.Context(), "m"); err != nil {
					t.Error(err)
				}
			})
			b.wantState("m", backend.Running)
			reached, resolved := b.reachAll("m")
			if slices.Contains(tc.reached, injected) {
				w.wait(injected)
			}
			arrived, asked := w.takeArrived()
			if diff := cmp.Diff(tc.names, resolved); diff != "" {
				t.Errorf("names that the machine resolved (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.asked, asked); diff != "" {
				t.Errorf("names that left the host (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(without(tc.reached, injected), reached); diff != "" {
				t.Errorf("what the machine reached (-want +got):\n%s", diff)
			}
			arrived = slices.DeleteFunc(arrived, func(a string) bool { return a == "dns query" })
			if diff := cmp.Diff(without(tc.reached, "foreign"), arrived); diff != "" {
				t.Errorf("what arrived (-want +got):\n%s", diff)
			}
		})
	}
}

// injected is what arrives of a frame that the machine made by itself.
const injected = "denied injected"

// open is what a machine with an open network reaches: all but the host itself,
// and the metadata.
var open = []string{
	"allowed icmp", "allowed tcp", "allowed udp", "denied icmp", "denied injected", "denied tcp", "denied udp", "dns icmp", "dns tcp", "dns udp",
	"foreign tcp", "foreign udp",
}

func without(list []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return strings.HasPrefix(s, prefix) })
}

// reachAll returns what the machine reaches of the world, and the names that it
// can resolve.
func (b *bench) reachAll(machine string) (reached, resolved []string) {
	b.t.Helper()
	// First a frame of the machine's own making, in which its own rules have no say;
	// nobody will tell it what became of that.
	b.guest(machine, "inject", uplink.Device, net.HardwareAddr(uplink.GatewayMAC[:]).String(), "10.77.2.2", servedPort)
	var tries []string
	for name := range names {
		tries = append(tries, "name="+strings.TrimSuffix(name, "."))
	}
	b.reach(machine, tries, func(what string) { resolved = append(resolved, strings.TrimPrefix(what, "name=")) })
	meaning := map[string]string{"name=allowed.test@udp=10.77.3.2": "foreign udp", "name=allowed.test@tcp=10.77.3.2": "foreign tcp"}
	for server, address := range map[string]string{
		"allowed": "10.77.1.2", "denied": "10.77.2.2", "dns": "10.77.3.2", "metadata": "169.254.169.254", "host": "10.77.1.1",
		"loopback": "127.0.0.1", "this": "0.0.0.0", "gateway": uplink.Gateway.Addr().String(), "broadcast": "255.255.255.255",
		"loopback6": "::1", "allowed6": "fd77:1::2",
	} {
		host := net.JoinHostPort(address, servedPort)
		meaning["tcp="+host], meaning["udp="+host] = server+" tcp", server+" udp"
		if slices.Contains([]string{"allowed", "denied", "dns", "metadata", "host"}, server) {
			meaning["ping="+address] = server + " icmp"
		}
	}
	b.reach(machine, slices.Collect(maps.Keys(meaning)), func(what string) { reached = append(reached, meaning[what]) })
	slices.Sort(reached)
	slices.Sort(resolved)
	return reached, resolved
}

func (b *bench) reach(machine string, tries []string, reached func(what string)) {
	b.t.Helper()
	code, out := b.guest(machine, append([]string{"reach"}, tries...)...)
	if code != 0 {
		b.t.Errorf("guest reach: %d: %s", code, out)
	}
	for line := range strings.Lines(out) {
		reached(strings.TrimSpace(line))
	}
}
