package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"bottlebuild/cache/remote"
	bottlefile "bottlebuild/hcl"
)

// The environment variables of the shared cache. Flags beat them, and they beat
// the bottle file's cache blocks.
const (
	envCacheRemotes  = "BOTTLEBUILD_CACHE_REMOTES"        // as --cache
	envCacheScope    = "BOTTLEBUILD_CACHE_SCOPE"          // as --cache-scope
	envCacheTrust    = "BOTTLEBUILD_CACHE_TRUST"          // as --cache-trust, separated by commas
	envCacheSignKey  = "BOTTLEBUILD_CACHE_SIGN_KEY"       // as --cache-sign-key, or the key itself in PEM
	envCacheSigned   = "BOTTLEBUILD_CACHE_REQUIRE_SIGNED" // as --require-signed
	envCacheCA       = "BOTTLEBUILD_CACHE_CA"             // file with the certificate authority
	envCacheCert     = "BOTTLEBUILD_CACHE_CERT"           // file with the client certificate
	envCacheKey      = "BOTTLEBUILD_CACHE_KEY"            // file with its key
	envCacheInsecure = "BOTTLEBUILD_CACHE_INSECURE"       // 1: plain http, or a certificate that cannot be checked
	envCacheProject  = "BOTTLEBUILD_CACHE_PROJECT"        // names the snapshot index; default: the bottle file's directory
	envCacheBuilder  = "BOTTLEBUILD_CACHE_BUILDER"        // who did the work, in records; default: the host's name
)

// cacheFlags are the flags of commands that use the shared cache.
type cacheFlags struct {
	list          string
	scope         string
	trust         []string
	signKey       string
	requireSigned bool
	fresh         bool // no flag: as of [remote.Config]
	carry         bool // no flag: entries are carried in a directory, whatever registries there are
}

func (f *cacheFlags) add(cmd *cobra.Command) {
	f.addList(cmd)
	f.addTrust(cmd)
	f.addSign(cmd)
}

func (f *cacheFlags) addList(cmd *cobra.Command) {
	filledFlag(cmd, &f.list, "cache", "the caches, in order: local:rw,REGISTRY/PREFIX:r|rw|w, or NAME:MODE of a cache block; local alone uses no registry ($"+envCacheRemotes+")")
}

func (f *cacheFlags) addTrust(cmd *cobra.Command) {
	fl := cmd.Flags()
	filledFlag(cmd, &f.scope, "cache-scope", "whose results the shared cache is to have: trusted, or pr for builds of what anybody proposes ($"+envCacheScope+")")
	textsFlag(cmd, &f.trust, "cache-trust", "", "use only results that this public `KEY` has signed, or one in this file; repeatable ($"+envCacheTrust+")")
	fl.BoolVar(&f.requireSigned, "require-signed", false, "fail with 6 where the shared cache has a result that is not signed as it should be ($"+envCacheSigned+"=1)")
}

func (f *cacheFlags) addSign(cmd *cobra.Command) {
	filledFlag(cmd, &f.signKey, "cache-sign-key", "sign results with the private key in this `FILE` ($"+envCacheSignKey+")")
}

// sharedConfig returns what the flags, the environment and the bottle file say of
// the shared cache; it has no remotes if there is none. file may be nil.
func (a *app) sharedConfig(file *bottlefile.File, f *cacheFlags) (remote.Config, error) {
	conf := remote.Config{Dir: filepath.Join(a.cacheDir(), "remote"), Project: a.env(envCacheProject), Builder: a.env(envCacheBuilder), Fresh: f.fresh}
	var blocks []bottlefile.Cache
	if file != nil {
		blocks, conf.Project = file.Caches(), cmp.Or(conf.Project, projectName(file.Project()))
	}
	var err error
	if conf.Builder == "" {
		conf.Builder, _ = os.Hostname()
	}
	if conf.RequireSigned, err = a.flagOrEnv(f.requireSigned, envCacheSigned); err != nil {
		return conf, err
	}
	if conf.Remotes, err = a.remotes(blocks, cmp.Or(f.list, a.env(envCacheRemotes))); err != nil || len(conf.Remotes) == 0 && !f.carry {
		return conf, err
	}
	if conf.Key, err = a.signKey(f.signKey); err != nil {
		return conf, err
	}
	trust, err := a.trustedKeys(f.trust)
	if err != nil {
		return conf, err
	}
	scope, err := a.cacheScope(f)
	if err != nil {
		return conf, err
	}
	for i := range conf.Remotes {
		r := &conf.Remotes[i]
		r.Trust.Keys = slices.Concat(trust, r.Trust.Keys)
		r.Scope = cmp.Or(scope, r.Scope, remote.Trusted)
	}
	return conf, nil
}

// cacheScope returns the scope that the flags or the environment name, or none.
func (a *app) cacheScope(f *cacheFlags) (remote.Scope, error) {
	scope := remote.Scope(cmp.Or(f.scope, a.env(envCacheScope)))
	if scope != "" && scope != remote.Trusted && scope != remote.Untrusted {
		return "", usageError("cache scope %q: write %s or %s", scope, remote.Trusted, remote.Untrusted)
	}
	return scope, nil
}

// projectName is what a project is called on every machine: by its directory.
func projectName(project string) string {
	if strings.HasSuffix(project, ".hcl") || strings.HasSuffix(project, ".json") {
		project = filepath.Dir(project)
	}
	return filepath.Base(project)
}

// remotes returns the registries of a list, or without one those of the file.
func (a *app) remotes(blocks []bottlefile.Cache, list string) ([]remote.Remote, error) {
	var all []remote.Remote
	if list == "" {
		for _, b := range blocks {
			r, err := a.declaredRemote(b)
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
		return all, nil
	}
	places, err := remote.ParsePlaces(list)
	if err != nil {
		return nil, usageError("%w", err)
	}
	for _, p := range places {
		if p.Ref == remote.Local {
			continue
		}
		r := remote.Remote{Prefix: p.Ref}
		i := slices.IndexFunc(blocks, func(b bottlefile.Cache) bool { return b.Name == p.Ref })
		if i >= 0 {
			r, err = a.declaredRemote(blocks[i])
		} else {
			if !strings.ContainsAny(p.Ref, ".:/") && p.Ref != "localhost" {
				return nil, usageError("cache %q: %s", p.Ref, blocksText(blocks))
			}
			r.TLS, err = a.cacheTLS("", "", "", false)
		}
		if err != nil {
			return nil, err
		}
		if i < 0 || p.Given {
			r.Mode = p.Mode
		}
		all = append(all, r)
	}
	return all, nil
}

// blocksText says which cache blocks could have been meant.
func blocksText(blocks []bottlefile.Cache) string {
	if len(blocks) == 0 {
		return "the bottle file has no cache block; write REGISTRY/PREFIX, as in registry.example.com/acme"
	}
	var names []string
	for _, b := range blocks {
		names = append(names, b.Name)
	}
	return "there is no such cache block; there are: " + strings.Join(names, ", ")
}

func (a *app) declaredRemote(b bottlefile.Cache) (remote.Remote, error) {
	t, err := a.cacheTLS(b.CA, b.Cert, b.Key, b.Insecure)
	return remote.Remote{Prefix: b.URL, Mode: b.Mode, Scope: b.Scope, Trust: remote.Trust{Keys: b.Trust}, TLS: t}, err
}

// cacheTLS reads certificates; what the environment names goes first.
func (a *app) cacheTLS(ca, cert, key string, insecure bool) (remote.TLS, error) {
	ca, cert, key = cmp.Or(a.env(envCacheCA), ca), cmp.Or(a.env(envCacheCert), cert), cmp.Or(a.env(envCacheKey), key)
	insecure, err := a.flagOrEnv(insecure, envCacheInsecure)
	t := remote.TLS{Insecure: insecure}
	if err == nil && (cert == "") != (key == "") {
		err = usageError("client certificate of the shared cache: it and its key belong together; set $%s and $%s", envCacheCert, envCacheKey)
	}
	if err != nil || ca == "" && cert == "" {
		return t, err
	}
	t.Config = &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return t, usageError("certificate authority of the shared cache: %w", err)
		}
		t.Config.RootCAs = x509.NewCertPool()
		if !t.Config.RootCAs.AppendCertsFromPEM(pem) {
			return t, usageError("certificate authority of the shared cache: there is no certificate in %s", ca)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return t, usageError("client certificate of the shared cache: %w", err)
		}
		t.Config.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

func (a *app) flagOrEnv(flag bool, name string) (bool, error) {
	v := a.env(name)
	if flag || v == "" {
		return flag, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, usageError("%s=%q: write 1 or 0", name, v)
	}
	return b, nil
}

// signKey reads the key that results are signed with.
func (a *app) signKey(file string) (remote.PrivateKey, error) {
	from := "--cache-sign-key " + file
	if file == "" {
		file, from = a.env(envCacheSignKey), "$"+envCacheSignKey
	}
	if file == "" {
		return remote.PrivateKey{}, nil
	}
	pem := []byte(file)
	if !strings.Contains(file, "-----BEGIN") {
		var err error
		pem, err = os.ReadFile(file)
		var path *fs.PathError
		if errors.As(err, &path) && from == "$"+envCacheSignKey {
			// It may be the key itself, and is not repeated.
			return remote.PrivateKey{}, usageError("%s: it is neither a private key in PEM, which begins with -----BEGIN PRIVATE KEY-----, nor a file that can be read with one: %w", from, path.Err)
		}
		if err != nil {
			return remote.PrivateKey{}, usageError("%s: %w", from, err)
		}
	}
	k, err := remote.ParsePrivateKey(pem)
	if err != nil {
		return k, usageError("%s: %w", from, err)
	}
	return k, nil
}

// trustedKeys reads public keys: each is one itself, or a file of some.
func (a *app) trustedKeys(given []string) ([]remote.PublicKey, error) {
	from := "--cache-trust"
	if len(given) == 0 && a.env(envCacheTrust) != "" {
		given, from = strings.Split(a.env(envCacheTrust), ","), "$"+envCacheTrust
	}
	var keys []remote.PublicKey
	for _, text := range given {
		if text = strings.TrimSpace(text); text == "" {
			return nil, usageError("%s: a key is empty; give a public key, or a file of some", from)
		}
		read, err := remote.ReadPublicKeys(text, os.ReadFile)
		var path *fs.PathError
		if errors.As(err, &path) && from != "--cache-trust" {
			err = fmt.Errorf("it is neither a public key, as cache keygen prints it, nor a file that can be read with some: %w", path.Err)
		}
		if err != nil {
			return nil, usageError("%s: %w", from, err)
		}
		keys = append(keys, read...)
	}
	return keys, nil
}

// describeStats says in a line what the shared cache did; empty if that is nothing.
func describeStats(s remote.Stats) string {
	var parts []string
	if s.FetchedBlobs > 0 {
		parts = append(parts, fmt.Sprintf("%s fetched in %d blobs", bytesText(s.FetchedBytes), s.FetchedBlobs))
	}
	if s.PushedEntries > 0 {
		parts = append(parts, fmt.Sprintf("%d results pushed, %s", s.PushedEntries, bytesText(s.PushedBytes)))
	}
	if s.Refused > 0 {
		parts = append(parts, fmt.Sprintf("%d not trusted", s.Refused))
	}
	return strings.Join(parts, "; ")
}
