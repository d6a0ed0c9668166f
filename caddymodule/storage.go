package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger"
)

// storageNamespace holds the guests of storage.
const storageNamespace = "relay.storage"

// StorageOpener is implemented by modules in the namespace relay.storage, whose inline
// key is engine. A guest says which store it means and how to open it; the app opens
// it once for the whole process and closes it when no configuration uses it any more.
//
// Provision and Validate of a guest must not open anything: they also run for
// configurations that are only checked, while another one has the store open.
type StorageOpener interface {
	// String names the store for people, without credentials.
	fmt.Stringer
	// StoreKey identifies what only one process can have open at a time, such as a
	// directory, and nothing else: options of the store are no part of it. It is
	// called when the app starts.
	StoreKey() (string, error)
	// OpenStore opens the store. The logger stays valid as long as the store is open,
	// over reloads.
	OpenStore(logger *zap.Logger) (relay.Store, error)
}

func init() { caddy.RegisterModule(new(BadgerStorage)) }

// BadgerStorage keeps events in a directory of this machine, in a Badger database. It
// syncs to disk before an event is acknowledged; nothing turns that off.
type BadgerStorage struct {
	// The directory. `{env.*}` and `{file.*}` are replaced when the configuration is
	// loaded. Another directory is another store: what is in the old one stays there.
	// Default: `relay` in Caddy's data directory
	Directory string `json:"directory,omitempty"`

	resolved string
}

// CaddyModule returns the Caddy module information.
func (*BadgerStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  storageNamespace + ".badger",
		New: func() caddy.Module { return new(BadgerStorage) },
	}
}

// Provision resolves the directory's placeholders.
func (s *BadgerStorage) Provision(caddy.Context) error {
	if s.Directory == "" {
		s.resolved = filepath.Join(caddy.AppDataDir(), "relay")
		return nil
	}
	resolved, err := resolve(s.Directory)
	if err != nil {
		return fmt.Errorf("storage badger: directory: %w", err)
	}
	s.resolved = resolved
	return nil
}

// String implements [StorageOpener].
func (s *BadgerStorage) String() string { return "badger " + s.resolved }

// StoreKey implements [StorageOpener]: two ways to write one directory have one key.
func (s *BadgerStorage) StoreKey() (string, error) {
	key, err := canonicalPath(s.resolved)
	if err != nil {
		return "", fmt.Errorf("finding the storage directory %s: %w", s.resolved, err)
	}
	return key, nil
}

// OpenStore implements [StorageOpener].
func (s *BadgerStorage) OpenStore(logger *zap.Logger) (relay.Store, error) {
	dir, err := s.StoreKey()
	if err != nil {
		return nil, err
	}
	return badger.Open(dir, badger.Options{Logger: logger})
}

// canonicalPath returns the absolute path with its symbolic links followed, as far as
// it exists.
func canonicalPath(path string) (string, error) {
	abs, err := caddy.FastAbs(path)
	if err != nil {
		return "", err
	}
	for dir, rest := abs, ""; ; dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest) {
		real, err := filepath.EvalSymlinks(dir)
		switch {
		case err == nil:
			return filepath.Join(real, rest), nil
		case !os.IsNotExist(err):
			return "", err
		case dir == filepath.Dir(dir):
			return abs, nil
		}
	}
}

// UnmarshalCaddyfile reads
//
//	badger [<directory>]
func (s *BadgerStorage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	args, err := word{usage: "storage badger [<directory>]", most: 1, block: true}.line(d, "storage badger")
	if err != nil {
		return err
	}
	if len(args) == 1 {
		s.Directory = args[0]
	}
	return nestedBlock(d, "storage badger", vocabulary{})
}

var (
	_ StorageOpener         = (*BadgerStorage)(nil)
	_ caddy.Provisioner     = (*BadgerStorage)(nil)
	_ caddyfile.Unmarshaler = (*BadgerStorage)(nil)
)
