package tasks

import (
	"bytes"
	"cmp"
	"io"
	"slices"
)

// redacted stands in output for a secret's value.
const redacted = "***"

// redactor passes on what is written to it with the values of secrets replaced,
// also where a value comes in several writes. Close passes on what it has held back.
type redactor struct {
	w      io.Writer
	values [][]byte // the longest first, none empty
	held   []byte
}

func newRedactor(w io.Writer, secrets map[string]string) *redactor {
	r := &redactor{w: w}
	for _, v := range secrets {
		if v != "" {
			r.values = append(r.values, []byte(v))
		}
	}
	slices.SortFunc(r.values, func(a, b []byte) int { return cmp.Compare(len(b), len(a)) })
	return r
}

func (r *redactor) Write(p []byte) (int, error) {
	b := append(r.held, p...)
	for _, v := range r.values {
		b = bytes.ReplaceAll(b, v, []byte(redacted))
	}
	keep := r.begun(b)
	if _, err := r.w.Write(b[:len(b)-keep]); err != nil {
		return 0, err
	}
	r.held = slices.Clone(b[len(b)-keep:])
	return len(p), nil
}

// begun is the length of the longest end of b with which a value begins.
func (r *redactor) begun(b []byte) int {
	longest := 0
	for _, v := range r.values {
		for n := min(len(v)-1, len(b)); n > longest; n-- {
			if bytes.HasSuffix(b, v[:n]) {
				longest = n
			}
		}
	}
	return longest
}

func (r *redactor) Close() error {
	_, err := r.w.Write(r.held)
	r.held = nil
	return err
}
