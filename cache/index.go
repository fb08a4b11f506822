package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

const (
	indexFile  = "index.json"
	indexType  = "application/vnd.oci.image.index.v1+json"
	emptyIndex = `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[]}`
	refName    = "org.opencontainers.image.ref.name" // OCI image-spec, annotations
	maxIndex   = 64 << 20                            // bytes
)

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      Digest            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Tag makes a manifest of the store known under name in the layout's
// index.json, where skopeo, crane and oras find it as oci:DIR:NAME. A name moves
// to the newest manifest that it was given.
func (s *Store) Tag(ctx context.Context, name string, manifest Blob) error {
	if err := s.HasBlob(manifest.Digest, manifest.Size); err != nil {
		return fmt.Errorf("tag %s: %w", name, err)
	}
	err := s.changeIndex(ctx, func(ix *index) {
		ix.drop(name)
		ix.Manifests = append(ix.Manifests, descriptor{
			MediaType: manifest.MediaType, Digest: manifest.Digest, Size: manifest.Size,
			Annotations: map[string]string{refName: name},
		})
	})
	if err != nil {
		return fmt.Errorf("tag %s: %w", name, err)
	}
	return nil
}

// Untag removes a name that [Store.Tag] gave; a name that is not there is no error.
func (s *Store) Untag(ctx context.Context, name string) error {
	if err := s.changeIndex(ctx, func(ix *index) { ix.drop(name) }); err != nil {
		return fmt.Errorf("untag %s: %w", name, err)
	}
	return nil
}

func (ix *index) drop(name string) {
	ix.Manifests = slices.DeleteFunc(ix.Manifests, func(d descriptor) bool { return d.Annotations[refName] == name })
}

// changeIndex changes the layout's index, under a lock.
func (s *Store) changeIndex(ctx context.Context, change func(*index)) error {
	unlock, err := s.lockFile(ctx, "index")
	if err != nil {
		return err
	}
	defer unlock()
	ix, err := s.readIndex()
	if err != nil {
		return err
	}
	change(ix)
	b, err := json.MarshalIndent(ix, "", "  ")
	if err != nil {
		return err
	}
	return s.publish(indexFile, b)
}

// Tagged returns the manifest that name stands for; the error wraps [ErrMiss] if
// it stands for none, or for one that is no longer there.
func (s *Store) Tagged(name string) (Blob, error) {
	ix, err := s.readIndex()
	if err != nil {
		return Blob{}, fmt.Errorf("tag %s: %w", name, err)
	}
	for _, d := range ix.Manifests {
		if d.Annotations[refName] == name {
			return Blob{Name: "manifest", MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, s.HasBlob(d.Digest, d.Size)
		}
	}
	return Blob{}, fmt.Errorf("tag %s: %w", name, ErrMiss)
}

// readIndex reads index.json. One that is missing reads as empty, and so does a
// damaged one, which is quarantined: what it said can be made again.
func (s *Store) readIndex() (*index, error) {
	b, err := readFile(s.root, indexFile, maxIndex)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ix := &index{}
	if err == nil && json.Unmarshal(b, ix) == nil {
		return ix, nil
	}
	if err := s.quarantine(indexFile); err != nil {
		return nil, err
	}
	return &index{SchemaVersion: 2, MediaType: indexType}, nil
}
