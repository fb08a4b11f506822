package bottlefile

import (
	"fmt"
	"math/big"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/internal/lazyregexp"
)

// How values with a syntax of their own are read. Each fault says what to write.

var (
	sizeRE = lazyregexp.New(`^([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)$`)
	sizes  = map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
)

// size returns a size in units of unit bytes, rounded down to none: a size that
// is no whole number of them is a fault.
func (d *decoder) size(name string, unit int64, unitName string) int {
	v, ok := d.get(name)
	if !ok {
		return 0
	}
	summary := "Invalid size"
	if v.Type() == cty.Number {
		d.fault(v, summary, "%s needs a unit: write \"%sMiB\" or \"%sGiB\".", name, v.quote(), v.quote())
		return 0
	}
	if v.Type() != cty.String {
		d.fault(v, summary, "%s is a size such as \"512MiB\" or \"6GiB\", not %s.", name, v.quote())
		return 0
	}
	m := sizeRE.FindStringSubmatch(strings.TrimSpace(v.AsString()))
	if m == nil {
		d.fault(v, summary, "%s is a number and a unit, such as \"512MiB\" or \"6GiB\", not %s.", name, v.quote())
		return 0
	}
	factor, known := sizes[m[2]]
	if !known || m[0] != v.AsString() || strings.Contains(m[0], " ") {
		hint := " Units are KiB, MiB, GiB and TiB."
		if u := sizeUnit(m[2]); u != "" && !v.sensitive {
			hint = fmt.Sprintf(" Did you mean %q?%s", m[1]+u, hint)
		}
		d.fault(v, summary, "%s is not a size.%s", v.quote(), hint)
		return 0
	}
	n, ok := new(big.Rat).SetString(m[1])
	if !ok || len(m[1]) > 20 {
		d.fault(v, summary, "%s is not a size.", v.quote())
		return 0
	}
	n.Mul(n, big.NewRat(factor, unit))
	switch {
	case !n.IsInt() || n.Sign() == 0:
		d.fault(v, summary, "%s is a whole number of %s, at least one; %s is not.", name, unitName, v.quote())
		return 0
	case n.Cmp(big.NewRat(1<<24, 1)) > 0:
		d.fault(v, summary, "%s is too large.", v.quote())
		return 0
	}
	return int(n.Num().Int64())
}

// sizeUnit returns the unit that was probably meant.
func sizeUnit(u string) string {
	if u == "" {
		return "MiB"
	}
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if strings.EqualFold(u[:1], unit[:1]) {
			return unit
		}
	}
	return ""
}

var durationRE = lazyregexp.New(`(?i)^\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|milli\w*|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)?\s*$`)

// maxDuration bounds what can be waited for.
const maxDuration = 24 * time.Hour

// duration returns a positive duration, fallback if none is given.
func (d *decoder) duration(name string, fallback time.Duration) time.Duration {
	return d.durationUpTo(name, fallback, maxDuration)
}

func (d *decoder) durationUpTo(name string, fallback, limit time.Duration) time.Duration {
	v, ok := d.get(name)
	if !ok {
		return fallback
	}
	summary := "Invalid duration"
	var text string
	switch v.Type() {
	case cty.String:
		text = v.AsString()
	case cty.Number:
		d.fault(v, summary, "%s needs a unit: write \"%ss\" for seconds.", name, v.quote())
		return fallback
	default:
		d.fault(v, summary, "%s is a duration such as \"30s\" or \"500ms\", not %s.", name, v.quote())
		return fallback
	}
	t, err := time.ParseDuration(text)
	switch {
	case err != nil:
		hint := ""
		if m := durationRE.FindStringSubmatch(text); m != nil && !v.sensitive {
			n := m[1] + durationUnit(m[2])
			if days, err := strconv.Atoi(m[1]); err == nil && strings.HasPrefix(strings.ToLower(m[2]), "d") {
				n = fmt.Sprintf("%dh", 24*days)
			}
			hint = fmt.Sprintf(" Did you mean %q?", n)
		}
		d.fault(v, summary, "%s is not a duration, such as \"30s\", \"500ms\" or \"2m\".%s", v.quote(), hint)
		return fallback
	case t <= 0 || t > limit:
		d.fault(v, summary, "%s is more than zero and at most %s, not %s.", name, fmt.Sprintf("%dh", limit/time.Hour), v.quote())
		return fallback
	}
	return t
}

func durationUnit(u string) string {
	u = strings.ToLower(u)
	switch {
	case u == "ms" || strings.HasPrefix(u, "milli"):
		return "ms"
	case strings.HasPrefix(u, "m"):
		return "m"
	case strings.HasPrefix(u, "h"):
		return "h"
	}
	return "s"
}

var modeRE = lazyregexp.New(`^0?[0-7]{3}$`)

// mode returns permission bits.
func (d *decoder) mode(name string, fallback uint32) uint32 {
	v, ok := d.get(name)
	if !ok {
		return fallback
	}
	if v.Type() == cty.Number {
		d.fault(v, "Invalid file mode", "%s is a string of octal digits: write \"0%s\" in quotes, since a bare number is read as decimal.", name, strings.TrimLeft(v.quote(), "0"))
		return fallback
	}
	if v.Type() != cty.String || !modeRE.MatchString(v.AsString()) {
		d.fault(v, "Invalid file mode", "%s is three octal digits, with a leading zero if wanted, such as \"0600\" or \"755\", not %s.", name, v.quote())
		return fallback
	}
	var m uint32
	for _, c := range v.AsString() {
		m = m*8 + uint32(c-'0')
	}
	return m
}

var (
	platformRE    = lazyregexp.New(`^([a-z0-9]+)/([a-z0-9]+)(?:/(v[0-9]+))?$`)
	systems       = []string{"linux", "windows", "darwin", "freebsd", "wasi"}
	architectures = []string{"amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x", "loong64", "mips64le", "mips64", "wasm"}
	otherNames    = map[string]string{"x86_64": "amd64", "x64": "amd64", "aarch64": "arm64", "i386": "386", "x86": "386", "armhf": "arm/v7", "armv7": "arm/v7"}
)

// checkPlatform tells whether a value is a platform, and reports it if not.
func (d *decoder) checkPlatform(v value) bool {
	s := v.AsString()
	if m := platformRE.FindStringSubmatch(s); m != nil && slices.Contains(systems, m[1]) && slices.Contains(architectures, m[2]) {
		return true
	}
	system, arch, ok := strings.Cut(s, "/")
	switch {
	case !ok && suggest(s, systems) == "" && !slices.Contains(systems, s):
		system, arch = "linux", s
	case !ok:
		system, arch = s, "amd64"
	}
	if o := otherNames[strings.ToLower(arch)]; o != "" {
		arch = o
	} else if m := suggest(arch, architectures); m != "" && !slices.Contains(architectures, arch) {
		arch = m
	}
	if m := suggest(system, systems); m != "" && !slices.Contains(systems, system) {
		system = m
	}
	hint := ""
	if meant := system + "/" + arch; platformRE.MatchString(meant) && meant != s && !v.sensitive {
		hint = fmt.Sprintf(" Did you mean %q?", meant)
	}
	d.fault(v, "Invalid platform", "%s is %s, which is not a platform such as \"linux/amd64\" or \"linux/arm/v7\".%s", v.name(), v.quote(), hint)
	return false
}

// referenceFault says what is wrong with an image reference, or returns "".
func referenceFault(s string) string {
	if name, digest, ok := strings.Cut(s, "@"); ok {
		algorithm, hex, hasHex := strings.Cut(digest, ":")
		switch {
		case !hasHex || algorithm != "sha256":
			return fmt.Sprintf("a digest is \"sha256:\" and 64 hex digits, not %q", digest)
		case len(hex) != 64:
			return fmt.Sprintf("the digest has %d hex digits, not 64", len(hex))
		case strings.Trim(hex, "0123456789abcdef") != "":
			return "the digest is not of lower-case hex digits"
		case name == "":
			return "there is no name before the @"
		}
	}
	if strings.Contains(s, "://") {
		return "a reference has no scheme"
	}
	if _, err := reference.ParseNormalizedNamed(s); err != nil {
		if strings.ToLower(s) != s {
			if _, err := reference.ParseNormalizedNamed(strings.ToLower(s)); err == nil {
				return "a repository is in lower case"
			}
		}
		return "it is not of the form HOST/REPOSITORY:TAG"
	}
	return ""
}

var (
	tagRE        = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	repositoryRE = lazyregexp.New(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	dnsLabelRE   = lazyregexp.New(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)
	hostRE       = lazyregexp.New(`^(?:\*\.)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
)

// isTag tells whether s is a tag of the OCI distribution spec.
func isTag(s string) bool { return len(s) <= 128 && tagRE.MatchString(s) }

// checkHost reports a value that is no host name.
func (d *decoder) checkHost(v value) {
	s := v.AsString()
	_, isAddr := netip.ParseAddr(s)
	_, isPrefix := netip.ParsePrefix(s)
	switch {
	case strings.Contains(s, "://"):
		_, rest, _ := strings.Cut(s, "://")
		host, _, _ := strings.Cut(rest, "/")
		d.fault(v, "Invalid host", "%s is a URL; a host is written alone: %q.", v.quote(), host)
	case isPrefix == nil:
		d.fault(v, "Invalid host", "%s is a network: write it in allow_cidrs.", v.quote())
	case isAddr == nil:
		d.fault(v, "Invalid host", "%s is an address: write it in allow_cidrs, as %q.", v.quote(), s+addrBits(s))
	case strings.Contains(s, ":"):
		d.fault(v, "Invalid host", "%s has a port; hosts are allowed on all ports. Write the name alone.", v.quote())
	case !hostRE.MatchString(s) || len(s) > 253:
		d.fault(v, "Invalid host", "%s is not a host name such as \"api.example.com\".", v.quote())
	}
}

func addrBits(s string) string {
	if strings.Contains(s, ":") {
		return "/128"
	}
	return "/32"
}

// checkCIDR reports a value that is no network.
func (d *decoder) checkCIDR(v value) {
	s := v.AsString()
	p, err := netip.ParsePrefix(s)
	if err != nil {
		hint := ""
		if _, err := netip.ParseAddr(s); err == nil {
			hint = fmt.Sprintf(" Did you mean %q?", s+addrBits(s))
		}
		d.fault(v, "Invalid network", "%s is not a network such as \"10.0.0.0/8\".%s", v.quote(), hint)
		return
	}
	if p.Masked() != p {
		d.fault(v, "Invalid network", "%s has bits beyond its length. Did you mean %q?", v.quote(), p.Masked().String())
	}
}

// guestPath returns an absolute path in a machine, cleaned, or "" after a report.
func (d *decoder) guestPath(v value) string {
	s := v.AsString()
	switch {
	case !path.IsAbs(s):
		hint := ""
		if s != "" && !strings.HasPrefix(s, "~") && !v.sensitive {
			hint = fmt.Sprintf(" Did you mean %q?", path.Clean("/"+s))
		}
		d.fault(v, "Path is not absolute", "%s is a path in the machine, so it starts with a slash; %s does not.%s", v.name(), v.quote(), hint)
		return ""
	case strings.ContainsAny(s, "\x00\n"):
		d.fault(v, "Invalid path", "%s has a zero byte or a line break.", v.name())
		return ""
	case path.Clean(s) == "/":
		d.fault(v, "Invalid path", "%s is the root directory of the machine; name something in it.", v.name())
		return ""
	}
	return path.Clean(s)
}
