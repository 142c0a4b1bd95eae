// Package state keeps the files of what a detector has learned: one for each sensor, and the one before it. A file is written beside its
// place, synced and renamed, so that after kill -9 or a power cut there is a whole one. A file that cannot be used is set aside, never
// deleted. What is in the bytes is for their reader to know. The files name hosts: they are for their owner alone.
package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"netlyra/internal/dir"
)

// The ways in which there may be nothing to read.
var (
	// ErrNone: nothing has been saved.
	ErrNone = errors.New("state: nothing has been saved")
	// ErrInUse: a running program holds the state.
	ErrInUse = errors.New("state: in use by a running netlyra")
)

const (
	suffix   = ".state"
	previous = ".1"
)

// File is the state of one sensor on disk. It is not for concurrent use.
type File struct {
	path string
	lock *os.File
}

// Path is the file of a sensor in the directory dir. Characters that might mean something in a file name are written as %XX.
func Path(dir, sensor string) string {
	var name strings.Builder
	for i := range len(sensor) {
		b := sensor[i]
		plain := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.' && i > 0
		if plain {
			name.WriteByte(b)
		} else {
			fmt.Fprintf(&name, "%%%02X", b)
		}
	}
	return filepath.Join(dir, name.String()+suffix)
}

// Look is the file at path for who only reads it.
func Look(path string) *File { return &File{path: path} }

// Open takes the file at path for this program alone until Close, and proves that its directory, which is made if need be, can be written.
// The error is an ErrInUse if another program holds it.
func Open(path string) (*File, error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, unwritable(path, err)
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, lock: lock}
	if err := dir.Writable(folder); err != nil {
		return nil, errors.Join(unwritable(path, err), f.Close())
	}
	return f, nil
}

// Check says whether Open would take the file at path, and leaves everything as it is. The error is that of Open.
func Check(path string) error {
	if err := dir.Writable(filepath.Dir(path)); err != nil {
		return unwritable(path, err)
	}
	lock, err := lockExisting(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || lock == nil { // no locks on this system
		return err
	}
	return lock.Close()
}

// Close lets others have the file.
func (f *File) Close() error {
	if f.lock == nil {
		return nil
	}
	return f.lock.Close()
}

// Path is where the file is.
func (f *File) Path() string { return f.path }

func unwritable(path string, err error) error {
	return fmt.Errorf("state %s cannot be written: %w: %s, or choose another one with --state",
		path, err, dir.Remedy("its directory"))
}

// Aside is a file that could not be used, and where it has been put.
type Aside struct {
	File string // its new name
	Err  error  // why
}

// Load gives what was saved last to use; if that refuses it, the file is set aside, and use gets what was saved before. Without anything that
// can be used the error is ErrNone. foreign says which refusals are no damage: such a file is set aside under another name.
func (f *File) Load(limit int64, use func([]byte) error, foreign func(error) bool, now time.Time) (aside []Aside, err error) {
	for _, path := range []string{f.path, f.path + previous} {
		b, err := read(path, limit)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil && !errors.Is(err, errLong) {
			return aside, fmt.Errorf("state %s cannot be read: %w", path, err)
		}
		if err == nil {
			err = use(b)
		}
		if err == nil {
			return aside, nil
		}
		kind := ".corrupt-"
		if foreign(err) {
			kind = ".other-"
		}
		target, moveErr := setAside(path, kind, now)
		if moveErr != nil {
			return aside, moveErr
		}
		aside = append(aside, Aside{target, err})
	}
	return aside, ErrNone
}

// Read returns what was saved last.
func (f *File) Read(limit int64) ([]byte, error) {
	for _, path := range []string{f.path, f.path + previous} {
		b, err := read(path, limit)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("state %s cannot be read: %w", path, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("%w: there is no %s", ErrNone, f.path)
}

var errLong = errors.New("it is too long to be a state")

func read(path string, limit int64) (b []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if b, err = io.ReadAll(io.LimitReader(file, limit+1)); err == nil && int64(len(b)) > limit {
		err = errLong
	}
	return b, err
}

// setAside moves a file out of the way.
func setAside(path, kind string, now time.Time) (target string, err error) {
	stamp := path + kind + now.UTC().Format("20060102T150405Z")
	target = stamp
	for n := 2; exists(target); n++ {
		target = fmt.Sprintf("%s-%d", stamp, n)
	}
	if err := os.Rename(path, target); err != nil {
		return "", fmt.Errorf("state: set %s aside: %w", path, err)
	}
	return target, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Save makes b what was saved last, and that what was saved before. When it returns without error, b survives a power cut; with an error, what
// was there is there still.
func (f *File) Save(b []byte) error {
	if err := f.write(b); err != nil {
		return fmt.Errorf("state %s cannot be saved: %w", f.path, err)
	}
	return nil
}

func (f *File) write(b []byte) (err error) {
	folder := filepath.Dir(f.path)
	temp := f.path + ".new"
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(temp)) // the disk may be full
	}
	// Between the two renames there is only the one before, which Load takes, too.
	if err := os.Rename(f.path, f.path+previous); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(temp, f.path); err != nil {
		return err
	}
	return syncDir(folder)
}

// Reset puts away what was saved: the last under the name that it returns, "" if there was nothing; what was saved before that is deleted.
func (f *File) Reset() (kept string, err error) {
	target := f.path + ".before-reset"
	last := f.path
	if !exists(last) {
		last += previous
	}
	err = os.Rename(last, target)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err == nil {
		err = os.Remove(f.path + previous)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(f.path))
	}
	if err != nil {
		return "", fmt.Errorf("state: reset %s: %w", f.path, err)
	}
	return target, nil
}

// syncDir makes the names in a directory survive a power cut.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
