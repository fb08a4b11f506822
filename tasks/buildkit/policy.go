package buildkit

import (
	"strings"

	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
)

// sourcePolicy has a build take from its remote sources what was planned: the
// commit of a Git ref, and of an HTTP source the content with that digest. A
// daemon that finds other content fails the build.
func sourcePolicy(sources []Remote) *spb.Policy {
	p := &spb.Policy{Version: 1}
	for _, s := range sources {
		if s.Given || s.Checksum == "" {
			continue
		}
		update := &spb.Update{Identifier: s.Source, Attrs: map[string]string{pb.AttrHTTPChecksum: s.Checksum}}
		if !s.HTTP {
			update = &spb.Update{Identifier: atCommit(s.Source, s.Checksum)}
		}
		p.Rules = append(p.Rules, &spb.Rule{
			Action:   spb.PolicyAction_CONVERT,
			Selector: &spb.Selector{Identifier: s.Source, MatchType: spb.MatchType_EXACT},
			Updates:  update,
		})
	}
	if len(p.Rules) == 0 {
		return nil
	}
	return p
}

// atCommit puts a commit in the place of the ref of "git://HOST/PATH[#REF[:DIRECTORY]]".
func atCommit(source, commit string) string {
	repository, fragment, _ := strings.Cut(source, "#")
	_, dir, ok := strings.Cut(fragment, ":")
	if ok {
		commit += ":" + dir
	}
	return repository + "#" + commit
}
