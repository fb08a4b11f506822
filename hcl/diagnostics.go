package bottlefile

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// WriteDiagnostics writes diags for people, each with the source it points at.
// The width is in columns, 0 for no wrapping. f is what [Load] returned.
func WriteDiagnostics(w io.Writer, f *File, diags hcl.Diagnostics, width uint, color bool) error {
	if err := hcl.NewDiagnosticTextWriter(w, f.sources, width, color).WriteDiagnostics(diags); err != nil {
		return fmt.Errorf("write diagnostics: %w", err)
	}
	return nil
}

func errorAt(r hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: r.Ptr()}
}

func warningAt(r hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	d := errorAt(r, summary, format, args...)
	d.Severity = hcl.DiagWarning
	return d
}

// maxAlike bounds how many diagnostics with one summary are kept for one place,
// which the instances of a for_each share.
const maxAlike = 3

// tidy removes repeated diagnostics and sorts the rest by place, so that the
// same file always yields the same list.
func tidy(diags hcl.Diagnostics) hcl.Diagnostics {
	type spot struct {
		subject hcl.Range
		summary string
	}
	type exact struct {
		spot
		detail string
	}
	count := map[spot]int{}
	last := map[spot]*hcl.Diagnostic{}
	seen := map[exact]bool{}
	var kept hcl.Diagnostics
	for _, d := range diags {
		s := spot{summary: d.Summary}
		if d.Subject != nil {
			s.subject = *d.Subject
		} else {
			s.summary += d.Detail // without a place they are not of one place
		}
		e := exact{s, d.Detail}
		if seen[e] {
			continue
		}
		seen[e] = true
		count[s]++
		if count[s] <= maxAlike {
			kept = append(kept, d)
			last[s] = d
		}
	}
	for s, n := range count {
		if n > maxAlike {
			d := *last[s]
			d.Detail += fmt.Sprintf(" (And %d more like this.)", n-maxAlike)
			kept[slices.Index(kept, last[s])] = &d
		}
	}
	slices.SortStableFunc(kept, func(a, b *hcl.Diagnostic) int {
		ra, rb := subject(a), subject(b)
		return cmp.Or(cmp.Compare(ra.Filename, rb.Filename), cmp.Compare(ra.Start.Byte, rb.Start.Byte), cmp.Compare(a.Summary, b.Summary))
	})
	return kept
}

func subject(d *hcl.Diagnostic) hcl.Range {
	if d.Subject == nil {
		return hcl.Range{}
	}
	return *d.Subject
}
