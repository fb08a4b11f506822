package cache_test

import (
	"bytes"
	"io"
	"sync"
	"testing"
)

// A blob that two read from at once is not taken for a damaged one.
func TestBlobIsReadByTwo(t *testing.T) {
	s := openShm(t)
	d, err := s.PutBytes(bytes.Repeat([]byte("content"), 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		r, err := s.OpenBlob(d)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				buf := make([]byte, 1000)
				for {
					if _, err := r.Read(buf); err != nil {
						if err != io.EOF {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		wg.Wait()
		r.Close()
	}
}
