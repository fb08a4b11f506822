package uplink

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

func TestServers(t *testing.T) {
	got := parseServers(strings.NewReader("# nameserver 1.1.1.1\nsearch a\nnameserver 10.0.0.1\n nameserver\tfd00::1 \nnameserver x\nnameserver\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n"))
	var list []string
	for _, a := range got {
		list = append(list, a.String())
	}
	if diff := cmp.Diff([]string{"10.0.0.1:53", "[fd00::1]:53", "10.0.0.2:53"}, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	none := filepath.Join(t.TempDir(), "resolv.conf")
	c := resolvConf{path: none}
	if _, err := c.servers(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(none, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.servers(); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("no name server: %v", err)
	}
}

func query(t testing.TB, name string, qtype dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: qtype, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAnswerWithoutServer: what is not allowed needs no name server to be refused,
// and what is allowed but cannot be looked up fails.
func TestAnswerWithoutServer(t *testing.T) {
	p, err := newPolicy(Config{Hosts: []string{"allowed.test"}})
	if err != nil {
		t.Fatal(err)
	}
	r := &resolver{policy: p, conf: &resolvConf{path: filepath.Join(t.TempDir(), "none")}}
	for _, tc := range []struct {
		name  string
		qtype dnsmessage.Type
		want  dnsmessage.RCode
	}{
		{"denied.test.", dnsmessage.TypeA, dnsmessage.RCodeNameError},
		{"secret.data.denied.test.", dnsmessage.TypeTXT, dnsmessage.RCodeNameError},
		{"allowed.test.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess},
		{"allowed.test.", dnsmessage.TypeTXT, dnsmessage.RCodeSuccess},
		{"allowed.test.", dnsmessage.TypeA, dnsmessage.RCodeServerFailure},
	} {
		var m dnsmessage.Message
		if err := m.Unpack(r.answer(query(t, tc.name, tc.qtype), "udp")); err != nil {
			t.Fatal(err)
		}
		if m.RCode != tc.want || !m.Response || m.ID != 7 || len(m.Answers) != 0 || len(m.Questions) != 1 {
			t.Errorf("%s %s: %+v, want %s", tc.name, tc.qtype, m, tc.want)
		}
	}
}

// TestAnswers: only the answer to the question counts, whoever sends others.
func TestAnswers(t *testing.T) {
	q := query(t, "a.test.", dnsmessage.TypeA)
	answer := func(change func(m *dnsmessage.Message)) []byte {
		var m dnsmessage.Message
		if err := m.Unpack(q); err != nil {
			t.Fatal(err)
		}
		m.Response = true
		change(&m)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !answers(answer(func(*dnsmessage.Message) {}), q) {
		t.Error("the answer is not taken")
	}
	for name, change := range map[string]func(m *dnsmessage.Message){
		"another number": func(m *dnsmessage.Message) { m.ID++ },
		"a question":     func(m *dnsmessage.Message) { m.Response = false },
		"another name":   func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("b.test.") },
		"another type":   func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeTXT },
		"no question":    func(m *dnsmessage.Message) { m.Questions = nil },
	} {
		if answers(answer(change), q) {
			t.Errorf("%s is taken for the answer", name)
		}
	}
}

// TestLookupBounds: an answer of very many addresses is cut, and the least time to
// live counts.
func TestLookupBounds(t *testing.T) {
	name := dnsmessage.MustNewName("a.test.")
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	m.Answers = append(m.Answers, dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 9}, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.test.")},
	})
	for i := range 200 {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}, Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, byte(i)}},
		})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	_, addrs, ttl, err := parseAddresses(b)
	if err != nil || len(addrs) != maxAnswers || ttl.Seconds() != 9 || addrs[3] != netip.MustParseAddr("10.0.0.3") {
		t.Errorf("%d addresses, %s, %v", len(addrs), ttl, err)
	}
	if short := reply(dnsmessage.Header{}, dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}, 0, addrs, ttl); len(short) > 512 {
		t.Errorf("the reply has %d bytes, more than fit into a datagram", len(short))
	}
}

// FuzzAnswer: whatever a machine sends, the resolver stays up and answers with
// well-formed messages, and never asks anyone for what is not allowed.
func FuzzAnswer(f *testing.F) {
	p, err := newPolicy(Config{Hosts: []string{"allowed.test"}})
	if err != nil {
		f.Fatal(err)
	}
	r := &resolver{policy: p, conf: &resolvConf{path: filepath.Join(f.TempDir(), "none")}}
	f.Add(query(f, "allowed.test.", dnsmessage.TypeA))
	f.Add(query(f, "denied.test.", dnsmessage.TypeTXT))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		answer := r.answer(b, "udp")
		var m dnsmessage.Message
		if answer != nil && (m.Unpack(answer) != nil || !m.Response) {
			t.Errorf("answer %x", answer)
		}
	})
}
