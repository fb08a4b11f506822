package tasks

import (
	"cmp"
	"strings"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildkit"
)

// The causes for which nodes run, beside those of package graph.
const (
	CauseFile     graph.Cause = "file"              // a file that the node reads
	CauseArgument graph.Cause = "argument"          // a build argument
	CauseBase     graph.Cause = "base-image"        // a base image
	CauseSource   graph.Cause = "source"            // a Git repository or download that a build adds
	CauseInput    graph.Cause = "dependency-output" // what another node has made
	CauseTool     graph.Cause = "tool"              // the version of a tool
	CauseSecret   graph.Cause = "secret"            // the name or version of a secret
	CauseMissing  graph.Cause = "file-missing"      // what a Dockerfile copies is not there
	CauseExpired  graph.Cause = "expired"
	CauseAlways   graph.Cause = "always"
	CauseTagLost  graph.Cause = "tag-lost"
	CauseFileLost graph.Cause = "file-lost"
	CausePackLost graph.Cause = "pack-lost"
	CauseProbe    graph.Cause = "probe"

	CauseMachineLost       graph.Cause = "machine-lost"
	CauseMachineStopped    graph.Cause = "machine-stopped"
	CauseMachineIncomplete graph.Cause = "machine-incomplete"
	CauseMachineKept       graph.Cause = "machine-kept"
)

// Causes returns the causes of this package and what they mean.
func Causes() []graph.Meaning {
	return []graph.Meaning{
		{Cause: CauseFile, Text: "a file that the node reads was added, removed or changed: of a context, a Dockerfile, or one written into a machine"},
		{Cause: CauseArgument, Text: "a build argument differs"},
		{Cause: CauseBase, Text: "a base image has another digest"},
		{Cause: CauseSource, Text: "a Git repository or a download that the build adds has another checksum"},
		{Cause: CauseInput, Text: "a node that it depends on has made something else"},
		{Cause: CauseTool, Text: "the version of a tool that does the work differs"},
		{Cause: CauseSecret, Text: "the name or the version of a secret differs"},
		{Cause: CauseMissing, Text: "what `COPY` or `ADD` names is not in the context, or the ignore file leaves it out: the build will fail, unless it is made before that"},
		{Cause: CauseExpired, Text: "the result is older than `max_age`"},
		{Cause: CauseAlways, Text: "`no_cache` or `no_cache_filter` in the bottle file wants it done every time"},
		{Cause: CauseTagLost, Text: "the registry no longer has the manifest, or a tag is gone or points to something else"},
		{Cause: CauseFileLost, Text: "an exported file is gone, or is not what was written"},
		{Cause: CausePackLost, Text: "the backend no longer has what it made of the pack"},
		{Cause: CauseProbe, Text: "what needs no other machine differs: `ready`, `check`, `self_test`, or where a secret is read from; it is tried again"},
		{Cause: CauseMachineLost, Text: "there is no such machine"},
		{Cause: CauseMachineStopped, Text: "the machine does not run"},
		{Cause: CauseMachineIncomplete, Text: "the machine was not provisioned to the end, or was never ready"},
		{Cause: CauseMachineKept, Text: "the machine has to be replaced, or may have to be, which `replace` forbids: then the run will fail"},
	}
}

// Fails tells the causes for which work will fail, as things stand.
func Fails(c graph.Cause) bool { return c == CauseMissing || c == CauseMachineKept }

// causeOf tells why a changed component of a recipe matters.
func causeOf(s graph.Spec, c cache.Change) graph.Cause {
	first, rest, _ := strings.Cut(c.Component, ".")
	switch first {
	case "args":
		return CauseArgument
	case "base", "ref":
		return CauseBase
	case "source":
		return CauseSource
	case "tool":
		return CauseTool
	case "secrets":
		return CauseSecret
	case "dockerfile", "file":
		return CauseFile
	case "image", "pack":
		return CauseInput
	case "context", "contexts":
		if p, ok := s.Params.(Image); ok {
			switch named := p.Contexts[cmp.Or(rest, buildkit.MainContext)]; {
			case named.Image != "":
				return CauseInput
			case named.Ref != "" || named.Layout != nil:
				return CauseBase
			case named.Dir != "" || rest == "":
				return CauseFile
			}
		}
	}
	return graph.Changed
}

// subjectOf is what a component is called in a sentence; empty: its own name.
func subjectOf(s graph.Spec, c cache.Change) string {
	switch c.Component {
	case "dockerfile":
		if p, ok := s.Params.(Image); ok && p.Dockerfile == "" {
			return "dockerfile_inline"
		}
		return "the Dockerfile"
	case "translation":
		return "the build's steps"
	case "image", "pack":
		return "the " + c.Component
	}
	if name, ok := strings.CutPrefix(c.Component, "args."); ok {
		return "argument " + name
	}
	if ref, ok := strings.CutPrefix(c.Component, "base."); ok {
		return "base image " + ref
	}
	return ""
}
