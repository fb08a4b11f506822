package cache

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
)

// dirBatch is how many names of a directory are read at once.
const dirBatch = 1024

// eachName yields the entries of a directory of the store, in no order, without
// holding all of a large one in memory. A directory that is not there is empty.
func eachName(root *os.Root, name string) iter.Seq2[fs.DirEntry, error] {
	return func(yield func(fs.DirEntry, error) bool) {
		if root == nil { // of a view of nothing
			return
		}
		d, err := root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		defer d.Close()
		for {
			entries, err := d.ReadDir(dirBatch)
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// eachInfo is eachName with what Lstat says; files that go meanwhile are left out.
func eachInfo(root *os.Root, name string) iter.Seq2[fs.FileInfo, error] {
	return func(yield func(fs.FileInfo, error) bool) {
		for e, err := range eachName(root, name) {
			var fi fs.FileInfo
			if err == nil {
				fi, err = e.Info()
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if !yield(fi, err) || err != nil {
				return
			}
		}
	}
}

func readInfos(root *os.Root, name string) (list []fs.FileInfo, err error) {
	for fi, err := range eachInfo(root, name) {
		if err != nil {
			return nil, err
		}
		list = append(list, fi)
	}
	return list, nil
}

// eachHashed is eachInfo over the directories HH of a directory whose files are
// named by hex digits, such as entries/.
func eachHashed(root *os.Root, name string) iter.Seq2[fs.FileInfo, error] {
	return func(yield func(fs.FileInfo, error) bool) {
		for e, err := range eachName(root, name) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !e.IsDir() || len(e.Name()) != 2 {
				continue
			}
			for fi, err := range eachInfo(root, name+"/"+e.Name()) {
				if !yield(fi, err) || err != nil {
					return
				}
			}
		}
	}
}
