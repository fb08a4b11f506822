package bottlefile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds on what is read. HCL's parser recurses with the nesting of its input
// and dies of deep nesting, so they are checked before it sees anything.
const (
	MaxFileSize  = 4 << 20 // bytes of a bottle file, or of a file that one reads
	MaxNesting   = 256     // brackets, templates and operators inside each other
	MaxInstances = 100_000 // of images, bottles and their stages, together
	maxTokens    = 1 << 20 // a token takes about a hundred bytes of memory, and again in the tree
	maxExponent  = 400     // of a number literal, in decimal digits
)

// ReadFile reads a bottle file of at most [MaxFileSize] bytes. It refuses named
// pipes, of which opening one can last for ever, but not those of a shell's <(…).
func ReadFile(path string) ([]byte, error) {
	if fi, err := os.Stat(path); err == nil && fi.Mode()&fs.ModeNamedPipe != 0 && !strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/proc/") {
		return nil, fmt.Errorf("read bottle file %s: it is a named pipe; standard input is read with -f -", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read bottle file: %w", err)
	}
	defer f.Close()
	b, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("read bottle file %s: %w", path, err)
	}
	return b, nil
}

// Read reads a bottle file, such as standard input, to its end; more than
// [MaxFileSize] bytes are an error.
func Read(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxFileSize {
		return nil, fmt.Errorf("it is over %d MiB", MaxFileSize>>20)
	}
	return b, nil
}

// lexer is one of hclsyntax's three.
type lexer func(src []byte, filename string, start hcl.Pos) (hclsyntax.Tokens, hcl.Diagnostics)

// checkBounds reports source that may not be given to the parser.
func checkBounds(src []byte, filename string, lex lexer) hcl.Diagnostics {
	if diags := checkSize(src, filename); diags.HasErrors() {
		return diags
	}
	// Faults that the lexer finds are found again by the parser.
	tokens, _ := lex(src, filename, hcl.InitialPos)
	var d depth
	for i, t := range tokens {
		var next hclsyntax.TokenType
		if i+1 < len(tokens) {
			next = tokens[i+1].Type
		}
		var word string
		if next == hclsyntax.TokenIdent {
			word = string(tokens[i+1].Bytes)
		}
		if d.add(t.Type, word) > MaxNesting {
			return hcl.Diagnostics{errorAt(t.Range, "Nested too deeply", "At most %d brackets, templates and operators may stand inside each other. Split the expression with locals.", MaxNesting)}
		}
		if t.Type == hclsyntax.TokenNumberLit && exponent(t.Bytes) > maxExponent {
			return hcl.Diagnostics{errorAt(t.Range, "Number too large", "Its exponent may be at most %d.", maxExponent)}
		}
	}
	return nil
}

// checkSize reports source of too many bytes or tokens.
func checkSize(src []byte, filename string) hcl.Diagnostics {
	start := hcl.Range{Filename: filename, Start: hcl.InitialPos, End: hcl.InitialPos}
	if len(src) > MaxFileSize {
		return hcl.Diagnostics{errorAt(start, "File too large", "It has %d bytes; at most %d are read.", len(src), MaxFileSize)}
	}
	if n := countTokens(src); n > maxTokens {
		return hcl.Diagnostics{errorAt(start, "File too large", "It has about %d words and signs; at most %d are read. Keep data in a file of its own and read it with jsondecode(file(…)).", n, maxTokens)}
	}
	return nil
}

// countTokens returns how many tokens src can have at most, less those that only
// changes of lexical mode make. It counts inside strings and comments too.
func countTokens(src []byte) int {
	n, inWord := 0, false
	for _, c := range src {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80:
			if !inWord {
				n++
			}
			inWord = true
		case c == ' ' || c == '\t' || c == '\r':
			inWord = false
		default:
			n++
			inWord = false
		}
	}
	return n
}

// exponent returns the exponent of a number literal, or its number of digits if that
// is larger. What is made a number from a text can have a binary one too, "1p9".
func exponent(lit []byte) int {
	n, exp, inExp := 0, 0, false
	for _, c := range lit {
		switch {
		case c == 'e' || c == 'E' || c == 'p' || c == 'P':
			inExp = true
		case c < '0' || c > '9':
		case !inExp:
			n++
		case exp < 1<<20:
			exp = exp*10 + int(c-'0')
		}
	}
	return max(n, exp)
}

// depth is an upper bound on the depth of the syntax tree at a token: each open
// bracket or template counts, and on each level the operators since the last
// separator, since operators nest without brackets.
type depth struct {
	open  []level
	top   level // below all brackets
	total int
}

type level struct {
	kind levelKind
	ops  int
}

type levelKind byte

const (
	lines    levelKind = iota // newlines and commas separate: bodies and objects
	commas                    // commas separate: brackets, parentheses, for expressions
	template                  // parts stand side by side
)

func (d *depth) level() *level {
	if len(d.open) == 0 {
		return &d.top
	}
	return &d.open[len(d.open)-1]
}

// add takes a token, and the word after it if that is a word.
func (d *depth) add(t hclsyntax.TokenType, next string) int {
	switch t {
	case hclsyntax.TokenOBrace:
		if next == "for" {
			d.push(commas)
		} else {
			d.push(lines)
		}
	case hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp:
		d.push(commas)
	case hclsyntax.TokenTemplateControl:
		switch next {
		case "if", "for": // opens a part of the template that ends with endif or endfor
			d.ops(1)
		case "endif", "endfor":
			d.ops(-min(1, d.level().ops))
		}
		d.push(commas)
	case hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
		d.push(template)
	case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
		d.pop()
	case hclsyntax.TokenComma:
		if d.level().kind != template {
			d.ops(-d.level().ops)
		}
	case hclsyntax.TokenNewline:
		if d.level().kind == lines {
			d.ops(-d.level().ops)
		}
	case hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenPercent,
		hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
		hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr,
		hclsyntax.TokenBang, hclsyntax.TokenQuestion, hclsyntax.TokenColon:
		d.ops(1)
	}
	return d.total
}

func (d *depth) ops(n int) {
	d.level().ops += n
	d.total += n
}

func (d *depth) push(k levelKind) {
	d.open = append(d.open, level{kind: k})
	d.total++
}

// pop closes a level. What was in it may be the operand of something further
// (an index, a call), except in a template, whose parts stand side by side.
func (d *depth) pop() {
	if len(d.open) == 0 {
		return
	}
	d.total -= d.level().ops + 1
	d.open = d.open[:len(d.open)-1]
	if d.level().kind != template {
		d.ops(1)
	}
}
