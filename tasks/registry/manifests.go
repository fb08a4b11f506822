package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// manifest answers GET, HEAD and PUT of a manifest by digest or tag.
func (s *Server) manifest(w http.ResponseWriter, r *http.Request, name, ref string) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return s.getManifest(w, r, name, ref)
	case http.MethodPut:
		return s.putManifest(w, r, name, ref)
	}
	return unsupported(r)
}

func (s *Server) getManifest(w http.ResponseWriter, r *http.Request, name, ref string) error {
	unknown := func(err error) error {
		return apiError{http.StatusNotFound, "MANIFEST_UNKNOWN", err.Error()}
	}
	desc, err := s.lookup(name, ref)
	if errors.Is(err, cache.ErrMiss) {
		return unknown(err)
	}
	if err != nil {
		return err
	}
	if size, err := s.store.BlobSize(desc.Digest); err == nil && size > maxManifest {
		return unknown(fmt.Errorf("%s is no manifest", desc.Digest))
	}
	raw, m, err := readManifest(s.store, desc)
	if err != nil {
		return unknown(err) // a layer or a config has a digest too
	}
	w.Header().Set("Content-Type", string(m.mediaType))
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.Header().Set("Docker-Content-Digest", desc.Digest.String())
	if r.Method == http.MethodGet {
		w.Write(raw)
	}
	return nil
}

// lookup finds a manifest by digest, by a tag of this server, or by a tag that
// the store keeps as "NAME/REPOSITORY:TAG".
func (s *Server) lookup(name, ref string) (cache.Blob, error) {
	if d, err := cache.ParseDigest(ref); err == nil {
		return cache.Blob{Digest: d}, s.store.HasBlob(d, -1)
	}
	if !isTag(ref) {
		return cache.Blob{}, fmt.Errorf("tag %.150q: %w", ref, cache.ErrMiss)
	}
	s.mu.Lock()
	m, ok := s.tags[name+":"+ref]
	s.mu.Unlock()
	if ok {
		return m, nil
	}
	return s.store.Tagged(name + ":" + ref)
}

// putManifest takes a manifest if all that it names is in the store.
func (s *Server) putManifest(w http.ResponseWriter, r *http.Request, name, ref string) error {
	invalid := func(code string, err error) error { return apiError{http.StatusBadRequest, code, err.Error()} }
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil {
		return err
	}
	if len(raw) > maxManifest {
		return apiError{http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("the manifest is over %d bytes", maxManifest)}
	}
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	m, err := parseManifest(raw, strings.TrimSpace(mediaType))
	if err != nil {
		return invalid("MANIFEST_INVALID", err)
	}
	d := cache.DigestOf(raw)
	switch want, err := cache.ParseDigest(ref); {
	case err != nil && !isTag(ref):
		return invalid("TAG_INVALID", fmt.Errorf("%.150q is neither a tag nor a digest", ref))
	case err == nil && want != d:
		return invalid("DIGEST_INVALID", fmt.Errorf("the manifest has digest %s, not %s", d, want))
	}
	refs, err := m.references()
	if err != nil {
		return invalid("MANIFEST_INVALID", err)
	}
	for _, b := range refs {
		if !types.MediaType(b.MediaType).IsDistributable() {
			continue // lives at a URL that the manifest names
		}
		if err := s.store.HasBlob(b.Digest, b.Size); err != nil {
			return invalid("MANIFEST_BLOB_UNKNOWN", fmt.Errorf("%s: %w", b.Name, err))
		}
	}
	if _, err := s.store.PutBytes(raw); err != nil {
		return diskError(err)
	}
	if isTag(ref) {
		s.setTag(name, ref, cache.Blob{Name: "manifest", MediaType: string(m.mediaType), Digest: d, Size: int64(len(raw))})
	}
	w.Header().Set("Location", "/v2/"+s.prefix+"/"+name+"/manifests/"+d.String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// listTags answers with the tags that this server was given; those that the
// store keeps are found by name only.
func (s *Server) listTags(w http.ResponseWriter, r *http.Request, name string) error {
	if r.Method != http.MethodGet {
		return unsupported(r)
	}
	tags := []string{}
	s.mu.Lock()
	for k := range s.tags {
		if tag, ok := strings.CutPrefix(k, name+":"); ok {
			tags = append(tags, tag)
		}
	}
	s.mu.Unlock()
	slices.Sort(tags)
	body, err := json.Marshal(map[string]any{"name": s.prefix + "/" + name, "tags": tags})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(body)
	return nil
}
