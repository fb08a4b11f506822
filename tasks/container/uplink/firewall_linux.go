package uplink

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is that of the table in the machine's namespace, which no process of
// the machine can change: they lack CAP_NET_ADMIN.
const tableName = "bottlebuild"

// firewall is the table in the machine's namespace.
type firewall struct {
	conn    *nftables.Conn
	learned *nftables.Set
}

// newFirewall lets out of the namespace what the policy allows, and answers for
// everything else at once, so that no program waits for what will not come. The
// host's own addresses are not looked at here: they may change.
func newFirewall(netns int, p *policy) (*firewall, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(netns), nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	f := &firewall{conn: conn}
	table := conn.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyINet})
	drop := nftables.ChainPolicyDrop
	chain := conn.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	f.learned = &nftables.Set{Table: table, Name: "learned", KeyType: nftables.TypeIPAddr}
	if err := conn.AddSet(f.learned, nil); err != nil {
		return nil, err
	}
	add := func(parts ...[]expr.Any) {
		r := &nftables.Rule{Table: table, Chain: chain}
		for _, p := range parts {
			r.Exprs = append(r.Exprs, p...)
		}
		conn.AddRule(r)
	}
	add(toLoopback(), accept())
	add(isIPv6(), reject())
	// What was allowed when it began goes on.
	add(established(), accept())
	add(toNetwork(netip.PrefixFrom(Gateway.Addr(), 32)), accept())
	for _, c := range p.cidrs {
		if c.Bits() == 32 {
			add(toNetwork(c), accept())
		}
	}
	for _, c := range special {
		add(toNetwork(c), reject())
	}
	for _, c := range p.cidrs {
		add(toNetwork(c), accept())
	}
	add(destination(), []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: f.learned.Name, SetID: f.learned.ID}}, accept())
	if p.open {
		add(accept())
	}
	add(reject())
	return f, conn.Flush()
}

// allow lets the addresses out, and no longer those that are gone.
func (f *firewall) allow(added, gone []netip.Addr) error {
	if err := f.conn.SetAddElements(f.learned, elements(added)); err != nil {
		return err
	}
	if err := f.conn.SetDeleteElements(f.learned, elements(gone)); err != nil {
		return err
	}
	return f.conn.Flush()
}

func elements(addrs []netip.Addr) []nftables.SetElement {
	var list []nftables.SetElement
	for _, a := range addrs {
		list = append(list, nftables.SetElement{Key: a.AsSlice()})
	}
	return list
}

func toLoopback() []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
	}
}

func isIPv6() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
	}
}

func established() []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// destination loads the packet's, of IPv4, which is all that comes here.
func destination() []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}}
}

func toNetwork(p netip.Prefix) []expr.Any {
	mask := make([]byte, 4)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(destination(),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()})
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func reject() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}
