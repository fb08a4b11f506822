package buildcontext

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"bottlebuild/cache"
)

// kind is the first letter of an entry's line.
type kind byte

const (
	kindFile  kind = 'f'
	kindDir   kind = 'd'
	kindLink  kind = 'l'
	kindPipe  kind = 'p'
	kindChar  kind = 'c'
	kindBlock kind = 'b'
)

// lineLength is a guess at the length of a line, in bytes.
const lineLength = 136

// lister writes the listing of what a walk found, and what the walk learnt into
// the table.
type lister struct {
	table *cache.StatTable
	text  []byte
	files int
	bytes int64
}

// list adds the entries of a directory. parent is the path of that, with a slash
// behind it, or empty.
func (l *lister) list(nodes []node, parent string) {
	for i := range nodes {
		n := &nodes[i]
		if n.kind == 0 {
			continue
		}
		if n.fresh {
			l.table.Put(parent+n.name, n.record)
		}
		before := len(l.text)
		l.line(n, parent)
		if n.kind != kindDir {
			continue
		}
		start := len(l.text)
		l.list(n.entries, parent+n.name+"/")
		if !n.selected && len(l.text) == start {
			l.text = l.text[:before]
		}
	}
}

func (l *lister) line(n *node, parent string) {
	b := append(l.text, byte(n.kind), ' ')
	for shift := 9; shift >= 0; shift -= 3 {
		b = append(b, '0'+byte(n.perm>>shift&7))
	}
	b = append(b, ' ')
	b = appendPath(b, parent, n.name)
	switch n.kind {
	case kindFile:
		l.files++
		l.bytes += n.record.Size
		b = append(b, ' ')
		b = strconv.AppendInt(b, n.record.Size, 10)
		b = append(b, ' ')
		b = appendHex(b, n.record.Digest)
		b = append(b, n.record.Extra...)
	case kindLink:
		b = append(b, ' ')
		b = appendQuoted(b, n.target)
	case kindChar, kindBlock:
		b = append(b, ' ')
		b = append(b, n.target...)
	}
	l.text = append(b, '\n')
}

// dropGone forgets the files that a scan of all of the directory did not find.
func (l *lister) dropGone(top []node) {
	known := map[string]bool{}
	var walk func([]node, string)
	walk = func(nodes []node, parent string) {
		for i := range nodes {
			if n := &nodes[i]; n.kind == kindDir {
				walk(n.entries, parent+n.name+"/")
			} else if n.kind == kindFile {
				known[parent+n.name] = true
			}
		}
	}
	if l.table.Len() <= l.files {
		return
	}
	walk(top, "")
	l.table.Retain(func(p string) bool { return known[p] })
}

// appendQuoted is appendPath for a text that is whole.
func appendQuoted(b []byte, s string) []byte { return appendPath(b, "", s) }

// appendPath quotes parent+name as Go does with escapes for all that is not
// ASCII, so that the form depends on no version of Unicode.
func appendPath(b []byte, parent, name string) []byte {
	if !printable(parent) || !printable(name) {
		return strconv.AppendQuoteToASCII(b, parent+name)
	}
	b = append(b, '"')
	b = append(b, parent...)
	b = append(b, name...)
	return append(b, '"')
}

// printable reports whether nothing in s has to be escaped.
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func appendHex(b []byte, d cache.Digest) []byte {
	const digits = "0123456789abcdef"
	for _, c := range d {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

// entry is a line of a listing.
type entry struct {
	kind   kind
	perm   uint32
	path   string
	size   int64 // of a file
	digest cache.Digest
	extra  string            // of a file: its extended attributes as in the line
	xattrs map[string][]byte // the same; nil: none
	target string            // of a link; of a device its numbers
	major  int64
	minor  int64
}

func parseEntry(line string) (e entry, err error) {
	fields := &scanner{rest: line}
	k := fields.word()
	e.perm = uint32(fields.number(8, 12))
	e.path = fields.quoted()
	if len(k) != 1 || e.path == "" || e.path == "." || !fs.ValidPath(strings.ToValidUTF8(e.path, "_")) {
		return e, fmt.Errorf("line %.200q: no entry of a listing", line)
	}
	switch e.kind = kind(k[0]); e.kind {
	case kindFile:
		e.size = int64(fields.number(10, 63))
		if e.digest, err = cache.ParseDigest("sha256:" + fields.word()); err != nil {
			fields.bad = true
		}
		e.extra = fields.rest
		for !fields.bad && fields.rest != "" {
			name, value := fields.pair()
			if e.xattrs == nil {
				e.xattrs = map[string][]byte{}
			}
			e.xattrs[name] = []byte(value)
		}
	case kindLink:
		e.target = fields.quoted()
	case kindChar, kindBlock:
		e.target = fields.word()
		major, minor, _ := strings.Cut(e.target, ":")
		e.major, e.minor = (&scanner{rest: major}).device(fields), (&scanner{rest: minor}).device(fields)
	case kindDir, kindPipe:
	default:
		fields.bad = true
	}
	if fields.bad || fields.rest != "" {
		return e, fmt.Errorf("line %.200q: no entry of a listing", line)
	}
	return e, nil
}

// scanner takes fields off the front of rest, each behind a single space but
// for the first. After one that is not there bad is set.
type scanner struct {
	rest string
	bad  bool
}

func (s *scanner) word() string {
	w, rest, _ := strings.Cut(s.rest, " ")
	s.rest = rest
	s.bad = s.bad || w == ""
	return w
}

func (s *scanner) number(base, bits int) uint64 {
	n, err := strconv.ParseUint(s.word(), base, bits)
	s.bad = s.bad || err != nil
	return n
}

func (s *scanner) device(of *scanner) int64 {
	n := s.number(10, 32)
	of.bad = of.bad || s.bad
	return int64(n)
}

func (s *scanner) literal() string {
	q, err := strconv.QuotedPrefix(s.rest)
	if err != nil || q[0] != '"' {
		s.bad, s.rest = true, ""
		return ""
	}
	s.rest = s.rest[len(q):]
	v, err := strconv.Unquote(q)
	s.bad = s.bad || err != nil
	return v
}

func (s *scanner) quoted() string {
	v := s.literal()
	if s.rest != "" && !strings.HasPrefix(s.rest, " ") {
		s.bad = true
	}
	s.rest = strings.TrimPrefix(s.rest, " ")
	return v
}

func (s *scanner) pair() (name, value string) {
	name = s.literal()
	if !strings.HasPrefix(s.rest, "=") {
		s.bad = true
		return name, ""
	}
	s.rest = s.rest[1:]
	return name, s.quoted()
}
