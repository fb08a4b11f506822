package importer

import (
	"fmt"
	"strings"
)

// splitTag takes a reference apart, which may have templates in it; isHost tells
// whether one that it starts with stands for a host.
func splitTag(s string, isHost func(string) bool) (host, repository, tag string, err error) {
	depth, colon, slash := 0, -1, -1
	for i := range len(s) {
		switch c := s[i]; {
		case c == '{':
			depth++
		case c == '}':
			depth--
		case depth == 0 && c == ':':
			colon = i
		case depth == 0 && c == '/':
			if slash < 0 {
				slash = i
			}
			colon = -1
		}
	}
	repository, tag = s, "latest"
	if colon >= 0 {
		repository, tag = s[:colon], s[colon+1:]
	}
	host = "docker.io"
	if slash > 0 {
		first := repository[:slash]
		if looksLikeHost(first) && !strings.Contains(first, "${") || strings.Contains(first, "${") && isHost(first) {
			host, repository = first, repository[slash+1:]
		}
	} else {
		repository = "library/" + repository
	}
	if repository == "" || tag == "" {
		return "", "", "", fmt.Errorf("%q is no tag", s)
	}
	return host, repository, tag, nil
}

// looksLikeHost tells whether a reference starts with a host, and not with a part of
// a repository of Docker Hub.
func looksLikeHost(reference string) bool {
	first, _, _ := strings.Cut(reference, "/")
	return strings.ContainsAny(first, ".:") || first == "localhost"
}

// registry returns the name of the registry at a host, and declares it if it is
// new.
func (f *file) registry(host string) string {
	if name, ok := f.hosts[host]; ok {
		return name
	}
	name := "hub"
	if host != "docker.io" {
		name = strings.NewReplacer("${", "", "}", "", "var.", "", "local.", "").Replace(host)
		name, _, _ = strings.Cut(strings.ToLower(name), ".")
	}
	name = f.registries.pick(name)
	f.hosts[host] = name
	r := f.add("registry " + quote(name))
	r.set("url", template(host))
	return name
}
