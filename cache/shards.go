package cache

import (
	"errors"
	"os"
	"sync/atomic"
)

// shards are the directories HH of entries/ that have been looked into, kept
// open: a big plan reads thousands of entries, and finding the way to each anew
// would take as long as reading it. Nobody removes these directories but with
// the whole cache.
type shards struct{ of [256]atomic.Pointer[os.Root] }

// open opens the entry of k for reading.
func (s *shards) open(entries *os.Root, k Key) (*os.File, error) {
	at := &s.of[k[0]]
	shard := at.Load()
	if shard == nil && entries != nil {
		opened, err := entries.OpenRoot(k.Hex()[:2])
		if err != nil {
			return nil, err
		}
		if shard = opened; !at.CompareAndSwap(nil, opened) {
			opened.Close()
			shard = at.Load()
		}
	}
	return openRead(shard, k.Hex())
}

func (s *shards) close() error {
	var errs []error
	for i := range s.of {
		if shard := s.of[i].Load(); shard != nil {
			errs = append(errs, shard.Close())
		}
	}
	return errors.Join(errs...)
}
