package badger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrDamaged means that a file of a store cannot be read as a whole.
var ErrDamaged = errors.New("the store is damaged")

// Damage is what is wrong with a file of a store.
type Damage struct {
	// File is its name, without the directory.
	File string
	// What continues a sentence that begins with File.
	What string
}

// DamageError means that files of a store are damaged. It is found before anything is
// opened: nothing was changed. It is [ErrDamaged].
type DamageError struct {
	Dir     string
	Damages []Damage
	// Token makes [Open] go on with what can be read, as Options.AcceptLoss. It fits this
	// damage and no other.
	Token string

	wrongToken bool
}

func newDamageError(dir string, mark acked, damages []Damage) *DamageError {
	slices.SortFunc(damages, func(a, b Damage) int { return strings.Compare(a.File, b.File) })
	hash := sha256.New()
	fmt.Fprintf(hash, "%x %d %q", mark.id, mark.ordinal, damages)
	return &DamageError{Dir: dir, Damages: damages, Token: hex.EncodeToString(hash.Sum(nil)[:6])}
}

// Is reports whether target is [ErrDamaged], or the [ErrNoManifest] that it includes.
func (e *DamageError) Is(target error) bool {
	missing := slices.Contains(e.Damages, Damage{manifestName, isMissing})
	return target == ErrDamaged || target == ErrNoManifest && missing
}

// isMissing is what is wrong with a file that is not there.
const isMissing = "is missing"

func (e *DamageError) Error() string {
	var said []string
	for _, d := range e.Damages {
		said = append(said, d.File+" "+d.What)
	}
	if len(said) > 5 {
		said = append(said[:4], fmt.Sprintf("and so on with %d more files", len(said)-4))
	}
	text := fmt.Sprintf("the store in %s is damaged: %s. Restore the directory from a backup. To go on with what can still be read, write into the block of storage: accept_loss %s; "+
		"the files as they are now are then kept in %s, with a list of what is gone. What that will be says: caddy relay doctor --storage %s",
		e.Dir, strings.Join(said, "; "), e.Token, damagedPrefix+e.Token, e.Dir)
	if e.wrongToken {
		text += " (the accept_loss that is configured belongs to another loss)"
	}
	return text
}
