// Package pulled is what the fake smolvm's program that pulls images hands over:
// a directory with image.json and the layers, as plain tars.
package pulled

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Image is an image that was pulled.
type Image struct {
	ID           string // digest of the config
	Size         int64  // of its manifest
	OS           string
	Architecture string
	Entrypoint   []string
	Cmd          []string
	Env          []string
	Workdir      string
	Layers       int
}

// Platform returns OS and architecture.
func (i Image) Platform() string { return i.OS + "/" + i.Architecture }

// Layer is where layer n is, counted from 0.
func Layer(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("layer-%d.tar", n)) }

// Write writes image.json.
func Write(dir string, i Image) error {
	b, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "image.json"), b, 0o600)
}

// Read reads image.json.
func Read(dir string) (Image, error) {
	b, err := os.ReadFile(filepath.Join(dir, "image.json"))
	if err != nil {
		return Image{}, err
	}
	var i Image
	return i, json.Unmarshal(b, &i)
}
