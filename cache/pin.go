package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Pin says that something outside the store, such as a machine, needs blobs for
// as long as a file is there.
type Pin struct {
	Holder string `json:"holder"` // absolute path of that file
	Blobs  []Blob `json:"blobs"`
}

const maxPin = 16 << 20 // bytes

// Pin keeps the blobs from being pruned for as long as the file holder, an
// absolute path, exists. A later pin of the same holder replaces it. Each blob
// must be in the store.
func (s *Store) Pin(holder string, blobs []Blob) error {
	if !filepath.IsAbs(holder) {
		return fmt.Errorf("pin for %s: the path is not absolute", holder)
	}
	if err := s.stampBlobs(blobs); err != nil {
		return fmt.Errorf("pin for %s: %w", holder, err)
	}
	b, err := json.Marshal(Pin{holder, blobs})
	if err != nil {
		return fmt.Errorf("pin for %s: %w", holder, err)
	}
	return s.publish("pins/"+DigestOf([]byte(holder)).Hex(), b)
}

// Pins returns the pins whose holders exist, or cannot be looked at. With sweep
// the others are removed.
func (s *Store) Pins(sweep bool) ([]Pin, error) {
	var pins []Pin
	for e, err := range eachName(s.root, "pins") {
		if err != nil {
			return nil, fmt.Errorf("read pins: %w", err)
		}
		name := "pins/" + e.Name()
		p, err := s.readPin(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			if _, lerr := os.Lstat(p.Holder); !errors.Is(lerr, fs.ErrNotExist) {
				pins = append(pins, p)
				continue
			}
		}
		if !sweep {
			continue
		}
		if err != nil && errors.Is(err, ErrDamaged) {
			err = s.quarantine(name)
		} else if err == nil {
			err = s.root.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read pins: %w", err)
		}
	}
	return pins, nil
}

func (s *Store) readPin(name string) (p Pin, err error) {
	b, err := readFile(s.root, name, maxPin)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil || !filepath.IsAbs(p.Holder) {
		return p, fmt.Errorf("%s: %w", name, ErrDamaged)
	}
	return p, nil
}
