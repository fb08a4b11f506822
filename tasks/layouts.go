package tasks

import (
	"fmt"

	"bottlebuild/cache"
	"bottlebuild/tasks/layout"
)

// layoutImage returns the digest of an image in an OCI layout, and puts into the
// store what says what it is. Its layers stay where they are until they are built
// from.
func (w *Worker) layoutImage(i LayoutImage) (cache.Digest, error) {
	l, err := layout.Open(i.Dir)
	if err != nil {
		return cache.Digest{}, err
	}
	defer l.Close()
	d, err := l.Resolve(i.Tag)
	if err == nil && w.Store != nil {
		err = l.Describe(d, w.Store)
	}
	if err != nil {
		return cache.Digest{}, fmt.Errorf("OCI layout %s: %w", i.Dir, err)
	}
	return d, nil
}

// openLayouts opens the layouts that an image is built from. The caller calls
// done, unless there is an error.
func openLayouts(p Image) (layouts []*layout.Layout, done func(), err error) {
	done = func() {
		for _, l := range layouts {
			l.Close()
		}
	}
	for _, c := range p.Contexts {
		if c.Layout == nil {
			continue
		}
		l, err := layout.Open(c.Layout.Dir)
		if err != nil {
			done()
			return nil, nil, err
		}
		layouts = append(layouts, l)
	}
	return layouts, done, nil
}
