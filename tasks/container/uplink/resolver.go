package uplink

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver answers the machine's questions for names: for allowed ones what the
// host's name servers say, and for all others that there is no such name.
type resolver struct {
	policy *policy
	conf   *resolvConf
}

const (
	maxMessage = 64 << 10
	// maxAnswers fit into the 512 bytes that any client takes in a datagram.
	maxAnswers   = 24
	askWait      = 3 * time.Second // one name server, once
	questionWait = 10 * time.Second
)

// How long an address stays allowed: at least for graceMin after it was last in
// an answer, since programs keep addresses beyond their time to live.
const (
	graceMin = 10 * time.Minute
	maxTTL   = time.Hour
)

var errNoAnswer = errors.New("no name server answers")

// serve answers on a stream, RFC 1035 section 4.2.2.
func (r *resolver) serve(conn net.Conn) {
	for {
		_ = conn.SetDeadline(time.Now().Add(questionWait))
		query, err := readMessage(conn)
		if err != nil {
			return
		}
		if answer := r.answer(query, "tcp"); answer == nil || writeMessage(conn, answer) != nil {
			return
		}
	}
}

// serveDatagrams answers one client's datagrams until it is silent.
func (r *resolver) serveDatagrams(conn net.Conn) {
	buf := make([]byte, maxMessage)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(questionWait))
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if answer := r.answer(buf[:n], "udp"); answer != nil {
			_, _ = conn.Write(answer) // one that is lost is asked for again
		}
	}
}

// answer returns the answer to a query, nil if it is none.
func (r *resolver) answer(query []byte, network string) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone || h.OpCode != 0 {
		return reply(h, q, dnsmessage.RCodeNotImplemented, nil, 0)
	}
	name := q.Name.String()
	switch {
	case q.Class != dnsmessage.ClassINET || !r.policy.allowsName(name):
		return reply(h, q, dnsmessage.RCodeNameError, nil, 0)
	case q.Type == dnsmessage.TypeAAAA: // there is no IPv6 to use it with
		return reply(h, q, dnsmessage.RCodeSuccess, nil, 0)
	}
	ctx, cancel := context.WithTimeout(context.Background(), questionWait)
	defer cancel()
	if q.Type != dnsmessage.TypeA {
		if !r.policy.open { // addresses are all that an allowed name is for
			return reply(h, q, dnsmessage.RCodeSuccess, nil, 0)
		}
		answer, err := r.ask(ctx, query, network)
		if err != nil {
			return reply(h, q, dnsmessage.RCodeServerFailure, nil, 0)
		}
		return answer
	}
	rcode, addrs, ttl, err := r.lookup(ctx, q.Name)
	if err != nil {
		return reply(h, q, dnsmessage.RCodeServerFailure, nil, 0)
	}
	return reply(h, q, rcode, addrs, ttl)
}

// lookup returns the IPv4 addresses of a name, which are allowed from then on.
func (r *resolver) lookup(ctx context.Context, name dnsmessage.Name) (rcode dnsmessage.RCode, addrs []netip.Addr, ttl time.Duration, err error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true})
	err = errors.Join(b.StartQuestions(),
		b.Question(dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}))
	if err != nil {
		return 0, nil, 0, err
	}
	query, err := b.Finish()
	if err != nil {
		return 0, nil, 0, err
	}
	answer, err := r.ask(ctx, query, "udp")
	if err != nil {
		return 0, nil, 0, err
	}
	rcode, addrs, ttl, err = parseAddresses(answer)
	if err != nil {
		return 0, nil, 0, err
	}
	if !r.policy.open {
		r.policy.learn(addrs, time.Now().Add(max(2*ttl, graceMin)))
	}
	return rcode, addrs, ttl, nil
}

// parseAddresses returns the addresses in an answer, and the least time to live.
func parseAddresses(answer []byte) (rcode dnsmessage.RCode, addrs []netip.Addr, ttl time.Duration, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(answer)
	if err == nil {
		err = p.SkipAllQuestions()
	}
	if err != nil {
		return 0, nil, 0, err
	}
	ttl = maxTTL
	for len(addrs) < maxAnswers {
		rh, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return 0, nil, 0, err
		}
		ttl = min(ttl, time.Duration(rh.TTL)*time.Second)
		if rh.Type != dnsmessage.TypeA || rh.Class != dnsmessage.ClassINET {
			if err := p.SkipAnswer(); err != nil { // such as the names in between
				return 0, nil, 0, err
			}
			continue
		}
		a, err := p.AResource()
		if err != nil {
			return 0, nil, 0, err
		}
		addrs = append(addrs, netip.AddrFrom4(a.A))
	}
	return h.RCode, addrs, ttl, nil
}

// reply makes an answer of addresses; names in between are left out.
func reply(h dnsmessage.Header, q dnsmessage.Question, rcode dnsmessage.RCode, addrs []netip.Addr, ttl time.Duration) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: h.ID, Response: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true, RCode: rcode,
	})
	b.EnableCompression()
	err := errors.Join(b.StartQuestions(), b.Question(q), b.StartAnswers())
	for _, a := range addrs {
		err = errors.Join(err, b.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: uint32(ttl / time.Second)},
			dnsmessage.AResource{A: a.As4()}))
	}
	answer, ferr := b.Finish()
	if err != nil || ferr != nil {
		return nil
	}
	return answer
}

// ask sends a query to the host's name servers, each twice, until one answers; an
// answer that was cut off is asked for again on a stream.
func (r *resolver) ask(ctx context.Context, query []byte, network string) ([]byte, error) {
	servers, err := r.conf.servers()
	if err != nil {
		return nil, err
	}
	for range 2 {
		for _, server := range servers {
			answer, err := exchange(ctx, network, server, query)
			if err == nil && network == "udp" && answer[2]&truncated != 0 {
				answer, err = exchange(ctx, "tcp", server, query)
			}
			if err == nil {
				return answer, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	return nil, errNoAnswer
}

const dnsPort = 53

const truncated = 0x02 // in the third byte of a message

// exchange asks one server. Only its own answer, to this question, counts.
func exchange(ctx context.Context, network string, server netip.AddrPort, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if network == "tcp" {
		if err := writeMessage(conn, query); err != nil {
			return nil, err
		}
		answer, err := readMessage(conn)
		if err == nil && !answers(answer, query) {
			err = errNoAnswer
		}
		return answer, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, maxMessage)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], query) {
			return buf[:n], nil
		}
	}
}

// answers reports whether a message is an answer to the query.
func answers(answer, query []byte) bool {
	var a, q dnsmessage.Parser
	ah, aerr := a.Start(answer)
	qh, qerr := q.Start(query)
	if aerr != nil || qerr != nil || !ah.Response || ah.ID != qh.ID {
		return false
	}
	aq, aerr := a.Question()
	qq, qerr := q.Question()
	return aerr == nil && qerr == nil && aq.Type == qq.Type && aq.Class == qq.Class && canonical(aq.Name.String()) == canonical(qq.Name.String())
}

func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if len(b) < 12 {
		return nil, io.ErrUnexpectedEOF
	}
	return b, nil
}

func writeMessage(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}
