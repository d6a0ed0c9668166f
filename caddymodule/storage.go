package caddymodule

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
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

// StorageConfigurer is a [StorageOpener] some of whose options can change while the store
// is open. Both methods get what OpenStore has returned, to a configuration before.
type StorageConfigurer interface {
	// CheckStore says why the open store cannot go on under this configuration, or nil.
	CheckStore(store relay.Store) error
	// ConfigureStore gives the store the options of this configuration.
	ConfigureStore(store relay.Store)
}

func init() { caddy.RegisterModule(new(BadgerStorage)) }

// BadgerStorage keeps events in a directory of this machine, in a Badger database. It
// syncs to disk before an event is acknowledged; nothing turns that off.
type BadgerStorage struct {
	// The directory. `{env.*}` and `{file.*}` are replaced when the configuration is
	// loaded. Another directory is another store: what is in the old one stays there.
	// Default: `relay` in Caddy's data directory
	Directory string `json:"directory,omitempty"`

	// How much of the volume stays free, at least 16 MiB: below it events are
	// refused with 503, and deliveries go on. On a small volume more stays free than this,
	// as much as the database may need. Applies at reload. Default: 1 GiB
	MinFree Size `json:"min_free,omitempty"`

	// How large the store may become, at least 64 MiB. Beyond it finished events
	// are removed before their time, oldest first; where that is not enough, events are
	// refused with 503. Applies at reload. Default: as large as the volume allows
	MaxSize Size `json:"max_size,omitempty"`

	// A secret that encrypts what is stored: 16, 24 or 32 bytes, in base64 or hexadecimal.
	// It is set when the store is made and cannot be changed. Placeholders are replaced.
	// Default: not encrypted
	EncryptionKey string `json:"encryption_key,omitempty"`

	// The token of a refusal to start because acknowledged events are gone: start without
	// them, once. Default: refuse
	AcceptLoss string `json:"accept_loss,omitempty"`

	resolved string
	key      []byte
}

// CaddyModule returns the Caddy module information.
func (*BadgerStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  storageNamespace + ".badger",
		New: func() caddy.Module { return new(BadgerStorage) },
	}
}

// Bounds of sizes, in bytes.
const (
	leastMinFree = 16 << 20
	leastMaxSize = 64 << 20
)

// check judges the configuration as far as its text goes.
func (s *BadgerStorage) check() error {
	switch {
	case s.MinFree != 0 && s.MinFree < leastMinFree:
		return fmt.Errorf("min_free: %d bytes are too little; leave at least 16MiB free", int64(s.MinFree))
	case s.MaxSize != 0 && s.MaxSize < leastMaxSize:
		return fmt.Errorf("max_size: %d bytes are too little; a store needs at least 64MiB", int64(s.MaxSize))
	}
	return nil
}

// Provision checks the options and resolves their placeholders.
func (s *BadgerStorage) Provision(caddy.Context) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("storage badger: %w", err)
	}
	if s.EncryptionKey != "" {
		secret, err := resolve(s.EncryptionKey)
		if err == nil {
			s.key, err = parseKey(secret)
		}
		if err != nil {
			return fmt.Errorf("storage badger: encryption_key: %w", err)
		}
	}
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

// parseKey reads a key of 16, 24 or 32 bytes. No error holds any of it.
func parseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		key, err := decode(text)
		if err == nil && (len(key) == 16 || len(key) == 24 || len(key) == 32) {
			return key, nil
		}
	}
	return nil, errors.New("the key is not 16, 24 or 32 bytes in base64 or hexadecimal; make one with: openssl rand -base64 32")
}

// warnings are about the key that can be seen.
func (s *BadgerStorage) warnings() []string {
	if s.EncryptionKey != "" && !hasPlaceholder(s.EncryptionKey) {
		return []string{"storage badger: encryption_key: " + literalWarning}
	}
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
	return badger.Open(dir, badger.Options{
		Logger: logger, Limits: s.limits(), EncryptionKey: s.key, AcceptLoss: s.AcceptLoss,
	})
}

func (s *BadgerStorage) limits() badger.Limits {
	return badger.Limits{MinFree: int64(s.MinFree), MaxSize: int64(s.MaxSize)}
}

// CheckStore implements [StorageConfigurer].
func (s *BadgerStorage) CheckStore(store relay.Store) error {
	if b, ok := store.(*badger.Store); ok && !b.HasKey(s.key) {
		return fmt.Errorf("storage badger: encryption_key: the store in %s is open with another key, or without one, and keeps the key that it was made with; "+
			"to change it, let the deliveries end, then configure another directory with the new key", s.resolved)
	}
	return nil
}

// ConfigureStore implements [StorageConfigurer].
func (s *BadgerStorage) ConfigureStore(store relay.Store) {
	if b, ok := store.(*badger.Store); ok {
		b.Configure(s.limits())
	}
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
//	badger [<directory>] {
//		min_free <size>
//		max_size <size>
//		encryption_key <secret>
//		accept_loss <token>
//	}
func (s *BadgerStorage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	args, err := word{usage: "storage badger [<directory>]", most: 1, block: true}.line(d, "storage badger")
	if err != nil {
		return err
	}
	if len(args) == 1 {
		s.Directory = args[0]
	}
	return nestedBlock(d, "storage badger", s.words())
}

func (s *BadgerStorage) words() vocabulary {
	text := func(name, what string, target *string) word {
		return word{usage: name + " <" + what + ">", least: 1, most: 1, parse: func(args []string) error {
			if *target = args[0]; *target == "" {
				return fmt.Errorf("%s: the %s is empty; %s", name, what, unsetHint)
			}
			return nil
		}}
	}
	size := func(name, example string, target *Size) word {
		return word{usage: name + " <size>", least: 1, most: 1, parse: func(args []string) error {
			n, err := humanize.ParseBytes(args[0])
			if err != nil || n == 0 || n > math.MaxInt64 {
				return fmt.Errorf("%s: %q is no size; write a number with its unit, e.g. %s", name, args[0], example)
			}
			*target = Size(n)
			return s.check()
		}}
	}
	return vocabulary{
		"min_free":       size("min_free", "512MiB", &s.MinFree),
		"max_size":       size("max_size", "20GiB", &s.MaxSize),
		"encryption_key": text("encryption_key", "secret", &s.EncryptionKey),
		"accept_loss":    text("accept_loss", "token", &s.AcceptLoss),
	}
}

var (
	_ StorageOpener         = (*BadgerStorage)(nil)
	_ StorageConfigurer     = (*BadgerStorage)(nil)
	_ caddy.Provisioner     = (*BadgerStorage)(nil)
	_ caddyfile.Unmarshaler = (*BadgerStorage)(nil)
)
