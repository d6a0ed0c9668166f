package files

import (
	"slices"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/y"
)

// Keys opens encrypted files. The zero value knows no key: it opens what is not encrypted.
type Keys struct {
	registry *bdb.KeyRegistry
	// ids are those of the keys.
	ids []uint64
}

// OpenKeys reads the KEYREGISTRY of a directory. If there is none, and no key is given, it
// knows no key. The error is badger's ErrEncryptionKeyMismatch if the key is another one.
func OpenKeys(dir string, key []byte) (Keys, error) {
	registry, err := bdb.OpenKeyRegistry(bdb.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: key})
	if err != nil {
		return Keys{}, err
	}
	k := Keys{registry: registry}
	for id := uint64(1); ; id++ { // they are numbered from 1
		if _, err := registry.DataKey(id); err != nil {
			return k, nil
		}
		k.ids = append(k.ids, id)
	}
}

// Encrypted reports whether anything is encrypted with these keys.
func (k Keys) Encrypted() bool { return len(k.ids) > 0 }

// Has reports whether the key of that number is known; 0 stands for none.
func (k Keys) Has(id uint64) bool { return id == 0 || slices.Contains(k.ids, id) }

// secret returns the key of that number, nil if it is 0, or an error.
func (k Keys) secret(id uint64) ([]byte, error) {
	if id == 0 {
		return nil, nil
	}
	if k.registry == nil {
		return nil, bdb.ErrInvalidDataKeyID
	}
	key, err := k.registry.DataKey(id)
	if err != nil {
		return nil, err
	}
	return key.Data, nil
}

// decrypt returns what stands behind data. A nil secret is none.
func decrypt(data, secret, iv []byte) ([]byte, error) {
	if secret == nil {
		return data, nil
	}
	return y.XORBlockAllocate(data, secret, iv)
}
