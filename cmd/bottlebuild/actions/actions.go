// Package actions speaks to GitHub Actions: workflow commands on the log, and
// the files that the runner names for outputs and for the job's summary. The
// forms are those of docs.github.com, "Workflow commands for GitHub Actions".
package actions

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Job is the job that this process is a part of. The nil Job is that of a process
// elsewhere: its methods do nothing.
type Job struct {
	Log       io.Writer // where the runner reads commands
	Outputs   string    // path of GITHUB_OUTPUT; empty: none
	Summary   string    // path of GITHUB_STEP_SUMMARY; empty: none
	Workspace string    // path of GITHUB_WORKSPACE, to which files in annotations are relative
}

// Level is how bad it is what an annotation says.
type Level string

// The levels.
const (
	Error   Level = "error"
	Warning Level = "warning"
	Notice  Level = "notice"
)

// Annotation is shown at a place in the repository.
type Annotation struct {
	Level        Level
	File         string // absolute, or relative to the workspace; empty: nowhere
	Line, Column int    // from 1; 0: not known
	Title        string
	Message      string
}

// Group puts what is logged until end is called under a title that can be opened
// and closed. In between the runner obeys no commands: what a build prints is
// only text.
func (j *Job) Group(title string) (end func()) {
	if j == nil {
		return func() {}
	}
	fmt.Fprintf(j.Log, "::group::%s\n", escape(title))
	resume := j.Quote()
	return func() {
		resume()
		fmt.Fprintln(j.Log, "::endgroup::")
	}
}

// Quote keeps the runner from obeying commands until end is called.
func (j *Job) Quote() (end func()) {
	if j == nil {
		return func() {}
	}
	token := rand.Text()
	fmt.Fprintf(j.Log, "::stop-commands::%s\n", token)
	return func() { fmt.Fprintf(j.Log, "::%s::\n", token) }
}

// Annotate shows an annotation.
func (j *Job) Annotate(a Annotation) {
	if j == nil {
		return
	}
	var properties []string
	add := func(name, value string) {
		properties = append(properties, name+"="+strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escape(value)))
	}
	if a.File != "" {
		file := a.File
		if rel, err := filepath.Rel(j.Workspace, a.File); err == nil && filepath.IsLocal(rel) {
			file = rel
		}
		add("file", filepath.ToSlash(file))
		if a.Line > 0 {
			add("line", fmt.Sprint(a.Line))
		}
		if a.Column > 0 {
			add("col", fmt.Sprint(a.Column))
		}
	}
	if a.Title != "" {
		add("title", a.Title)
	}
	space := ""
	if len(properties) > 0 {
		space = " "
	}
	fmt.Fprintf(j.Log, "::%s%s%s::%s\n", a.Level, space, strings.Join(properties, ","), escape(a.Message))
}

// escape makes any text one line of a command.
func escape(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

// SetOutputs gives the step outputs, for later steps of the job.
func (j *Job) SetOutputs(outputs map[string]string) error {
	if j == nil || j.Outputs == "" || len(outputs) == 0 {
		return nil
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		end := rand.Text() // which no value holds
		fmt.Fprintf(&b, "%s<<%s\n%s\n%s\n", name, end, outputs[name], end)
	}
	if err := appendTo(j.Outputs, b.String()); err != nil {
		return fmt.Errorf("set outputs of the step: %w", err)
	}
	return nil
}

// MaxSummary is how much the runner takes for the summary of a step, in bytes.
const MaxSummary = 1 << 20

// Summarize adds Markdown to the summary of the job. What is over [MaxSummary]
// is cut off at the end of a line.
func (j *Job) Summarize(markdown string) error {
	if j == nil || j.Summary == "" {
		return nil
	}
	const note = "\nThe rest is too long to be shown here.\n"
	if len(markdown) > MaxSummary {
		kept := markdown[:MaxSummary-len(note)]
		markdown = kept[:strings.LastIndexByte(kept, '\n')+1] + note
	}
	if err := appendTo(j.Summary, markdown); err != nil {
		return fmt.Errorf("add to the summary of the step: %w", err)
	}
	return nil
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

// Cell makes any text the content of a cell of a Markdown table.
func Cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", "<br>", "\r", "", "<", "&lt;", ">", "&gt;", "&", "&amp;", "`", "&#96;", "*", `\*`, "_", `\_`, "[", `\[`).Replace(s)
}
