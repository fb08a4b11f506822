package bottlefile

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcled"
)

// DiagnosticReport is a diagnostic for programs.
type DiagnosticReport struct {
	Severity string   `json:"severity"` // "error" or "warning"
	Summary  string   `json:"summary"`
	Detail   string   `json:"detail"`
	Range    *Range   `json:"range,omitempty"`
	Snippet  *Snippet `json:"snippet,omitempty"`
}

// Range is a part of a source; its end is the place after it.
type Range struct {
	Filename string   `json:"filename"`
	Start    Position `json:"start"`
	End      Position `json:"end"`
}

// Position is a place in a source. Line and Column count from 1, columns in
// characters; Byte counts from 0.
type Position struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// Snippet is the source around a diagnostic: whole lines, at most
// maxSnippetLines. Offsets are in bytes of Code.
type Snippet struct {
	Context              string `json:"context,omitempty"` // header of the block
	Code                 string `json:"code"`
	StartLine            int    `json:"start_line"`
	HighlightStartOffset int    `json:"highlight_start_offset"`
	HighlightEndOffset   int    `json:"highlight_end_offset"`
}

const maxSnippetLines = 10

// Report describes diagnostics of the file for programs. It never holds more of
// a value than [WriteDiagnostics] shows.
func (f *File) Report(diags Diagnostics) []DiagnosticReport {
	reports := []DiagnosticReport{}
	for _, d := range diags {
		r := DiagnosticReport{Severity: "error", Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			r.Severity = "warning"
		}
		if d.Subject != nil && d.Subject.Filename != "" {
			r.Range = &Range{d.Subject.Filename, position(d.Subject.Start), position(d.Subject.End)}
			r.Snippet = f.snippet(*d.Subject)
		}
		reports = append(reports, r)
	}
	return reports
}

func position(p hcl.Pos) Position { return Position{p.Line, p.Column, p.Byte} }

func (f *File) snippet(r hcl.Range) *Snippet {
	file := f.sources[r.Filename]
	if file == nil || r.Start.Byte > len(file.Bytes) || r.End.Byte > len(file.Bytes) || r.Start.Byte > r.End.Byte {
		return nil
	}
	src := file.Bytes
	start := bytes.LastIndexByte(src[:r.Start.Byte], '\n') + 1
	end, lines := r.Start.Byte, 0
	for lines < maxSnippetLines {
		lines++
		i := bytes.IndexByte(src[end:], '\n')
		if i < 0 {
			end = len(src)
			break
		}
		end += i
		if end >= r.End.Byte || lines == maxSnippetLines {
			break
		}
		end++
	}
	s := &Snippet{
		Code: string(src[start:end]), StartLine: r.Start.Line,
		HighlightStartOffset: r.Start.Byte - start, HighlightEndOffset: min(r.End.Byte, end) - start,
	}
	if file.Body != nil {
		s.Context = hcled.ContextString(file, r.Start.Byte)
	}
	return s
}
