package cache_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"bottlebuild/cache"
)

// contentOf is what the work of that name yields: names that are equal up to the
// first dot yield the same, so that entries share blobs.
func contentOf(name string) []byte {
	shared, _, _ := strings.Cut(name, ".")
	return bytes.Repeat([]byte(shared+"\n"), 100+len(shared)*10)
}

func recipeOf(name string) *cache.Recipe {
	r := cache.NewRecipe("test")
	r.Add("name", name)
	return r
}

// publish does the work of that name: two blobs and an entry.
func publish(s *cache.Store, name string) error {
	content := contentOf(name)
	d, n, err := s.PutBlob(bytes.NewReader(content))
	if err != nil {
		return err
	}
	own, err := s.PutBytes([]byte(name))
	if err != nil {
		return err
	}
	r := recipeOf(name)
	return s.Put(&cache.Entry{
		Key: r.Key(), Kind: "test", Address: name, Created: time.Now().UTC(), Recipe: r.Text(),
		Output: cache.Output{Digest: d, Blobs: []cache.Blob{
			{Name: "shared", Digest: d, Size: n}, {Name: "own", Digest: own, Size: int64(len(name))},
		}},
	})
}

// check looks the work of that name up and reads what it has yielded. hit is
// false if it has no entry; that an entry is there and is not what it should be
// is an error, and so is a blob that is gone if a lease protects it.
func check(s *cache.Store, name string, held bool) (hit bool, err error) {
	e, err := s.Get(recipeOf(name).Key())
	if errors.Is(err, cache.ErrDamaged) {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	if errors.Is(err, cache.ErrMiss) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for blob, want := range map[string][]byte{"shared": contentOf(name), "own": []byte(name)} {
		b, ok := e.Output.Blob(blob)
		if !ok {
			return false, fmt.Errorf("%s: the entry has no blob %s", name, blob)
		}
		got, err := s.ReadBlob(b.Digest, 1<<20)
		if errors.Is(err, cache.ErrMiss) && !errors.Is(err, cache.ErrDamaged) && !held {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		if !bytes.Equal(got, want) {
			return false, fmt.Errorf("%s: blob %s has another's content", name, blob)
		}
	}
	return true, nil
}
