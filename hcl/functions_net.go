package bottlefile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/gocty"

	"bottlebuild/internal/lazyregexp"
)

var cidrHostFunc = function.New(&function.Spec{
	Description: "The address of a host in a network by its number; negative numbers count from the end.",
	Params:      []function.Parameter{{Name: "prefix", Type: cty.String}, {Name: "hostnum", Type: cty.Number}},
	Type:        function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		p, err := network(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		n, accuracy := args[1].AsBigFloat().Int(nil)
		if accuracy != big.Exact {
			return cty.NilVal, function.NewArgErrorf(1, "a whole number is required")
		}
		size := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
		if n.Sign() < 0 {
			n = new(big.Int).Add(size, n)
		}
		if n.Sign() < 0 || n.Cmp(size) >= 0 {
			return cty.NilVal, function.NewArgErrorf(1, "a network of %d bits has no host %s", p.Bits(), args[1].AsBigFloat().Text('f', 0))
		}
		return cty.StringVal(offset(p.Addr(), n).String()), nil
	},
})

var cidrNetmaskFunc = function.New(&function.Spec{
	Description: "The netmask of an IPv4 network.",
	Params:      []function.Parameter{{Name: "prefix", Type: cty.String}},
	Type:        function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		p, err := network(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		if !p.Addr().Is4() {
			return cty.NilVal, function.NewArgErrorf(0, "IPv6 networks have no netmask")
		}
		mask := uint32(0xffffffff) << (32 - p.Bits())
		return cty.StringVal(netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}).String()), nil
	},
})

var cidrSubnetFunc = function.New(&function.Spec{
	Description: "A network inside another, longer by some bits, by its number.",
	Params:      []function.Parameter{{Name: "prefix", Type: cty.String}, {Name: "newbits", Type: cty.Number}, {Name: "netnum", Type: cty.Number}},
	Type:        function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		p, err := network(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		bits, err := newBits(p, args[1], 1)
		if err != nil {
			return cty.NilVal, err
		}
		n, accuracy := args[2].AsBigFloat().Int(nil)
		if accuracy != big.Exact || n.Sign() < 0 || n.BitLen() > bits {
			return cty.NilVal, function.NewArgErrorf(2, "%d more bits hold no network number %s", bits, args[2].AsBigFloat().Text('f', -1))
		}
		return cty.StringVal(subnet(p, bits, n).String()), nil
	},
})

var cidrSubnetsFunc = function.New(&function.Spec{
	Description: "Networks inside another, one after the other, longer by the given numbers of bits.",
	Params:      []function.Parameter{{Name: "prefix", Type: cty.String}},
	VarParam:    &function.Parameter{Name: "newbits", Type: cty.Number},
	Type:        function.StaticReturnType(cty.List(cty.String)),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		p, err := network(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		if len(args) == 1 {
			return cty.ListValEmpty(cty.String), nil
		}
		next := new(big.Int) // offset from the start of p
		end := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
		var found []cty.Value
		for i, a := range args[1:] {
			bits, err := newBits(p, a, i+1)
			if err != nil {
				return cty.NilVal, err
			}
			if bits == 0 || bits > maxNewBits {
				return cty.NilVal, function.NewArgErrorf(i+1, "it must be from 1 to %d", maxNewBits)
			}
			size := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()-bits))
			if rest := new(big.Int).Mod(next, size); rest.Sign() != 0 { // aligned to its own size
				next.Add(next, size).Sub(next, rest)
			}
			if new(big.Int).Add(next, size).Cmp(end) > 0 {
				return cty.NilVal, function.NewArgErrorf(i+1, "there is no room left in %s for a network of %d bits", p, p.Bits()+bits)
			}
			found = append(found, cty.StringVal(netip.PrefixFrom(offset(p.Addr(), next), p.Bits()+bits).String()))
			next.Add(next, size)
		}
		return cty.ListVal(found), nil
	},
})

// stableSubnetFunc gives each name a network of its own that depends on no other
// name. Two names can get the same one: with b new bits and n names the odds are
// about n²/2^(b+1).
var stableSubnetFunc = function.New(&function.Spec{
	Description: "A network inside another, longer by some bits, chosen by the SHA-256 of a name: the same name always has the same one.",
	Params:      []function.Parameter{{Name: "base", Type: cty.String}, {Name: "newbits", Type: cty.Number}, {Name: "name", Type: cty.String}},
	Type:        function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		p, err := network(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		bits, err := newBits(p, args[1], 1)
		if err != nil {
			return cty.NilVal, err
		}
		sum := sha256.Sum256([]byte(args[2].AsString()))
		n := new(big.Int).SetBytes(sum[:])
		n.Rsh(n, uint(len(sum)*8-bits))
		return cty.StringVal(subnet(p, bits, n).String()), nil
	},
})

// leadingZeros of the numbers in an IPv4 address count for nothing, as in
// Terraform, and do not make them octal.
var leadingZeros = lazyregexp.New(`(^|\.)0+([0-9])`)

func network(v cty.Value) (netip.Prefix, error) {
	s := v.AsString()
	if !strings.Contains(s, ":") {
		s = leadingZeros.ReplaceAllString(s, "$1$2")
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, function.NewArgError(0, errors.New("it is not a network such as 10.0.0.0/8"))
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// maxNewBits is Terraform's bound in cidrsubnets, which comes from the numbers of 32-bit machines.
const maxNewBits = 32

func newBits(p netip.Prefix, v cty.Value, arg int) (int, error) {
	var bits int
	if err := gocty.FromCtyValue(v, &bits); err != nil || bits < 0 {
		return 0, function.NewArgErrorf(arg, "a whole number of bits, at least 0, is required")
	}
	if room := p.Addr().BitLen() - p.Bits(); bits > room {
		return 0, function.NewArgError(arg, fmt.Errorf("%s has room for %d more bits only", p, room))
	}
	return bits, nil
}

func subnet(p netip.Prefix, bits int, n *big.Int) netip.Prefix {
	shift := uint(p.Addr().BitLen() - p.Bits() - bits)
	return netip.PrefixFrom(offset(p.Addr(), new(big.Int).Lsh(n, shift)), p.Bits()+bits)
}

// offset returns the address n after a; it is in the same network.
func offset(a netip.Addr, n *big.Int) netip.Addr {
	sum := new(big.Int).Add(new(big.Int).SetBytes(a.AsSlice()), n)
	b := sum.FillBytes(make([]byte, a.BitLen()/8))
	r, _ := netip.AddrFromSlice(b)
	return r
}
