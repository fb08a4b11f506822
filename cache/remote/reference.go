package remote

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"bottlebuild/internal/lazyregexp"
)

// Mode says what is done with a cache.
type Mode struct{ Read, Write bool }

// ParseMode reads "r", "w" or "rw".
func ParseMode(s string) (Mode, error) {
	switch s {
	case "r":
		return Mode{Read: true}, nil
	case "w":
		return Mode{Write: true}, nil
	case "rw":
		return Mode{Read: true, Write: true}, nil
	}
	return Mode{}, fmt.Errorf("mode %.40q: write r, w or rw", s)
}

// Place is one cache of a list such as "local:rw,registry.example.com/acme:r".
type Place struct {
	Ref  string // "local", the prefix of a registry's repositories, or a name
	Mode Mode
	// Given tells whether the mode was written; it is r if it was not.
	Given bool
}

// Local is the place that is this machine's own store.
const Local = "local"

// ParsePlaces reads a list of caches, in the order in which they are asked.
func ParsePlaces(list string) ([]Place, error) {
	var places []Place
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		p := Place{Ref: item, Mode: Mode{Read: true}}
		if i := strings.LastIndexByte(item, ':'); i >= 0 && !strings.Contains(item[i:], "/") {
			// What follows may be a port: HOST:5000.
			if mode, err := ParseMode(item[i+1:]); err == nil {
				p.Ref, p.Mode, p.Given = item[:i], mode, true
			} else if strings.Contains(item[:i], "/") || item[:i] == Local {
				return nil, fmt.Errorf("cache %q: %w", item, err)
			}
		}
		switch {
		case p.Ref == "":
			return nil, fmt.Errorf("cache %q: write local:rw, or REGISTRY/PREFIX:r", item)
		case p.Ref == Local && p.Given && p.Mode != Mode{Read: true, Write: true}:
			return nil, fmt.Errorf("cache %q: the local cache is what everything passes through; write local:rw", item)
		}
		places = append(places, p)
	}
	return places, nil
}

// hostPort is a name or address with an optional port.
var hostPort = lazyregexp.New(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// parsePrefix checks a registry and prefix and returns the scope's repository.
func parsePrefix(prefix string, scope Scope, insecure bool) (name.Repository, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	host, _, _ := strings.Cut(prefix, "/")
	switch {
	case strings.Contains(prefix, "://"):
		return name.Repository{}, fmt.Errorf("cache %q: leave out the scheme", prefix)
	case !hostPort.MatchString(host):
		return name.Repository{}, fmt.Errorf("cache %q: %q is no host, with a port if wanted; write REGISTRY/PREFIX, as in registry.example.com/acme", prefix, host)
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return name.Repository{}, fmt.Errorf("cache %q: it must start with a host that has a dot or a port, such as registry.example.com/acme", prefix)
	}
	options := []name.Option{name.StrictValidation}
	if insecure {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(prefix+"/"+scope.repository(), options...)
	if err != nil {
		return name.Repository{}, fmt.Errorf("cache %q: %w", prefix, err)
	}
	return repo, nil
}
