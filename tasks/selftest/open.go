package selftest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"bottlebuild/tasks/backend"
)

// reachable is what the machine has to reach, as this host does.
type reachable struct {
	servers   []netip.Addr // the machine's name servers
	hosts     []byte       // its hosts(5)
	questions []target     // asked first: names, and this host's own ports
	names     []namedHost  // to be connected to, once their addresses are known
	direct    []target     // addresses that are allowed by themselves
}

// openPatience is how long the machine waits for answers that should come.
const openPatience = 5 * time.Second

// allowed returns what the machine has to reach. Only what this host reaches
// itself is taken, so that a network that is down fails no machine.
func allowed(ctx context.Context, p *policy, h *host, s seen) reachable {
	r := reachable{servers: parseResolvConf(s.resolvConf), hosts: s.hosts}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	for _, port := range h.ports {
		if port.tcp && !port.addr.Addr().IsLoopback() && p.namesIt(port.addr.Addr()) {
			r.questions = append(r.questions, target{what: "this host, at " + port.addr.Addr().String(), tcp: true, addr: port.addr, payload: port.token, port: port})
		}
	}
	tried := 0
	for _, c := range p.cidrs {
		if !c.IsSingleIP() || !c.Addr().Is4() || tried == maxNames || own(h, c.Addr()) {
			continue
		}
		tried++
		if port := reachablePort(ctx, c.Addr().String()); port != 0 {
			r.direct = append(r.direct, target{what: c.Addr().String(), tcp: true, addr: netip.AddrPortFrom(c.Addr(), port)})
		}
	}
	for _, n := range p.names {
		if n.port != 0 {
			r.names = append(r.names, n)
			r.ask(n.name)
		}
	}
	if p.open && len(r.servers) > 0 {
		if _, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", unlisted); err == nil {
			r.ask(unlisted)
		}
	}
	return r
}

func own(h *host, a netip.Addr) bool {
	for _, p := range h.ports {
		if p.addr.Addr() == a {
			return true
		}
	}
	return false
}

// ask adds a question for a name to each name server.
func (r *reachable) ask(name string) {
	for _, s := range r.servers {
		r.questions = append(r.questions, target{what: name, addr: netip.AddrPortFrom(s, 53), payload: question(name), dns: true})
	}
}

const openAdvice = "this host reaches it, so the backend keeps from the machine what its network block allows: see the machine's /etc/resolv.conf, and update the backend"

// open judges what the machine should reach, from the answers to the questions,
// and has it connect to what they told. What was not answered in time is asked
// once more.
func (t *tests) open(ctx context.Context, p *probe, r reachable, got []netAnswer) error {
	if len(r.questions)+len(r.direct)+len(r.names) == 0 {
		return nil
	}
	known := parseHosts(r.hosts)
	take(r.questions, got, known)
	var again []target
	for _, q := range r.questions {
		if q.dns && len(known[q.what]) == 0 {
			again = append(again, q)
		}
	}
	if len(again) > 0 {
		got, err := p.connect(ctx, again)
		if err != nil {
			return err
		}
		take(again, got, known)
	}
	targets := r.direct
	for _, n := range r.names {
		for _, a := range known[n.name] {
			targets = append(targets, target{what: n.name, tcp: true, addr: netip.AddrPortFrom(a, n.port)})
		}
	}
	got, err := p.connect(ctx, targets)
	if err != nil {
		return err
	}
	reached := map[string]bool{}
	for i, q := range targets {
		reached[q.what] = reached[q.what] || got[i].sent
	}
	for _, q := range r.direct {
		t.check(reached[q.what], openAdvice, "the machine does not reach %s, which is allowed", q.addr)
	}
	for _, n := range r.names {
		if len(known[n.name]) == 0 {
			t.check(false, openAdvice, "the machine cannot resolve %s, which is allowed", n.name)
			continue
		}
		t.check(reached[n.name], openAdvice, "the machine does not reach %s, port %d, which is allowed", n.name, n.port)
	}
	for _, q := range r.questions {
		switch {
		case q.port != nil:
			t.check(q.port.reached(), openAdvice, "the machine does not reach %s, which is allowed", q.what)
		case q.what == unlisted:
			t.check(len(known[unlisted]) > 0, openAdvice, "the machine's network is open, and its name server %s does not answer", q.addr.Addr())
			return nil
		}
	}
	return nil
}

// take adds the addresses that answers tell to what is known.
func take(questions []target, got []netAnswer, known map[string][]netip.Addr) {
	for i, q := range questions {
		if addrs, _ := parseDNS(got[i].answer); q.dns && len(known[q.what]) == 0 {
			known[q.what] = addrs
		}
	}
}

// connect has the machine try targets that it should reach.
func (p *probe) connect(ctx context.Context, targets []target) ([]netAnswer, error) {
	if len(targets) == 0 {
		return nil, nil
	}
	ops := []string{fmt.Sprintf("net:%d", openPatience.Milliseconds())}
	for _, q := range targets {
		ops = append(ops, q.op())
	}
	a, err := p.run(ctx, backend.Exec{User: "0", Workdir: "/"}, ops...)
	if err != nil {
		return nil, fmt.Errorf("self-test: as root: %w", err)
	}
	if len(a.net) != len(targets) {
		return nil, fmt.Errorf("self-test: the probe answered for %d of %d connections", len(a.net), len(targets))
	}
	return a.net, nil
}

// parseHosts returns the IPv4 addresses of hosts(5), by name.
func parseHosts(b []byte) map[string][]netip.Addr {
	known := map[string][]netip.Addr{}
	for line := range bytes.Lines(b) {
		text, _, _ := strings.Cut(string(line), "#")
		f := strings.Fields(text)
		if len(f) < 2 {
			continue
		}
		if a, err := netip.ParseAddr(f[0]); err == nil && a.Is4() {
			for _, name := range f[1:] {
				known[name] = append(known[name], a)
			}
		}
	}
	return known
}
