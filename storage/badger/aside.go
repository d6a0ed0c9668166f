package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// clearAway sets aside files that hold nothing of ours and that Badger would stumble over,
// though it makes them anew where they are missing: value logs, statistics of them, and,
// in a store that is not encrypted, the list of keys.
func clearAway(dir string, o *Options) error {
	if err := clearKeys(dir, o); err != nil {
		return err
	}
	keys, err := files.OpenKeys(dir, o.EncryptionKey)
	if err != nil {
		return explainKeys(dir, err, o)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*"+valueSuffix))
	if err != nil {
		return err
	}
	for _, name := range logs {
		id, err := keyOf(name)
		if err == nil && !keys.Has(id) {
			err = fmt.Errorf("it names the key %d, which there is not", id)
		}
		if err == nil {
			continue
		}
		if err := setAside(name, err, o); err != nil {
			return err
		}
	}
	return nil
}

// clearKeys sets a damaged KEYREGISTRY aside if nothing is encrypted.
func clearKeys(dir string, o *Options) error {
	_, err := files.OpenKeys(dir, nil)
	if err == nil || len(o.EncryptionKey) > 0 || encrypted(dir) {
		return nil
	}
	return setAside(filepath.Join(dir, bdb.KeyRegistryFileName), err, o)
}

// encrypted reports whether a file of a database is encrypted, or may be.
func encrypted(dir string) bool {
	m, err := files.ReadManifest(dir)
	if err != nil {
		return true
	}
	for _, t := range m.Tables {
		if t.Key != 0 {
			return true
		}
	}
	for _, suffix := range []string{memSuffix, valueSuffix} {
		logs, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
		if err != nil {
			return true
		}
		for _, name := range logs {
			if id, err := keyOf(name); err != nil || id != 0 {
				return true
			}
		}
	}
	return false
}

// keyOf returns the number of the key that a log is encrypted with.
func keyOf(name string) (uint64, error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var header [20]byte
	if _, err := io.ReadFull(file, header[:]); err != nil {
		return 0, errors.New("it is too short")
	}
	return binary.BigEndian.Uint64(header[:]), nil
}

// setAside moves a file out of the way, into a directory of its own.
func setAside(path string, why error, o *Options) error {
	dir, err := makeAside(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("setting %s aside, which is damaged: %w", path, err)
	}
	if err := os.Rename(path, filepath.Join(dir, filepath.Base(path))); err != nil {
		return fmt.Errorf("setting %s aside, which is damaged: %w", path, err)
	}
	o.Logger.Warn("a damaged file was set aside; it holds no data, and is made anew", zap.String("file", path), zap.String("kept_in", dir), zap.Error(why))
	return errors.Join(syncDirectory(dir), syncDirectory(filepath.Dir(path)))
}

// makeAside makes a directory for damaged files in that of a store.
func makeAside(dir string) (string, error) {
	aside := filepath.Join(dir, damagedPrefix+time.Now().UTC().Format("20060102T150405.000Z"))
	return aside, os.MkdirAll(aside, 0o700)
}

// explainKeys tells the mend of a KEYREGISTRY that cannot be read.
func explainKeys(dir string, err error, o *Options) error {
	if errors.Is(err, bdb.ErrEncryptionKeyMismatch) {
		return explainOpen(dir, err, o)
	}
	return fmt.Errorf("%w: %s, which holds the keys that the data is encrypted with, cannot be read: %w; restore this file from a backup: without it nothing in %s can be read",
		ErrDamaged, bdb.KeyRegistryFileName, err, dir)
}
