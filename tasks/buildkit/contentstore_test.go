package buildkit

import (
	"errors"
	"io"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
)

func TestContentStore(t *testing.T) {
	store := openStore(t)
	s := contentStore{store: store}
	body := []byte("some bytes")
	desc := ocispecs.Descriptor{Digest: digest.FromBytes(body), Size: int64(len(body))}
	write := func(b []byte) content.Writer {
		t.Helper()
		w, err := s.Writer(t.Context(), content.WithRef("r"), content.WithDescriptor(desc))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		return w
	}
	if _, err := s.Info(t.Context(), desc.Digest); !errdefs.IsNotFound(err) {
		t.Errorf("info of what is not there: %v", err)
	}
	if _, err := s.ReaderAt(t.Context(), desc); !errdefs.IsNotFound(err) {
		t.Errorf("read what is not there: %v", err)
	}
	if err := write([]byte("other byte")).Commit(t.Context(), desc.Size, desc.Digest); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("commit of other bytes: %v", err)
	}
	if err := write(body[:4]).Commit(t.Context(), desc.Size, desc.Digest); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("commit of too few bytes: %v", err)
	}
	if err := write(body).Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.HasBlob(cache.DigestOf(body), -1); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("an upload that was dropped is there: %v", err)
	}
	if err := write(body).Commit(t.Context(), desc.Size, desc.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Writer(t.Context(), content.WithDescriptor(desc)); !errdefs.IsAlreadyExists(err) {
		t.Errorf("write what is there: %v", err)
	}
	r, err := s.ReaderAt(t.Context(), desc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil || string(got) != string(body) {
		t.Errorf("read %q, %v", got, err)
	}
	if err := s.Delete(t.Context(), desc.Digest); !errdefs.IsNotImplemented(err) {
		t.Errorf("delete: %v", err)
	}
}
