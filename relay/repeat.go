package relay

import "crypto/sha256"

// KnownKey is what a store keeps of an idempotency key: enough to repeat the first answer
// after the events were trimmed. R is the store's own form of a [Receipt].
type KnownKey[R any] struct {
	Sum      [sha256.Size]byte
	Receipts []R
}

// KeyBook are the idempotency keys of a store.
type KeyBook[R any] interface {
	// LookUp returns what is kept of a key, or nil.
	LookUp(h KeyHash) (*KnownKey[R], error)
	// Repeated returns the answer to a repeat.
	Repeated(r *R) (Receipt, error)
}

// Repeat says whether an item of a batch repeats an earlier one of it, or what was stored
// before.
type Repeat[R any] struct {
	// Hash is that of the item's own key, if it has one.
	Hash KeyHash
	// Of is the index of the item that is repeated, or -1.
	Of int
	// Known is what was answered before, and Answer what is answered now; nil if the item is
	// new or repeats another one of the batch.
	Known  *R
	Answer Receipt
}

// New reports whether there is something to be stored.
func (r *Repeat[R]) New() bool { return r.Known == nil && r.Of < 0 }

// Repeats returns what each item of a batch repeats. If the whole batch was stored before it
// returns the receipts instead. The error may be a [KeyReusedError].
func Repeats[R any](b *Batch, book KeyBook[R]) (items []Repeat[R], all []Receipt, err error) {
	if all, err = repeatedWhole(b, book); all != nil || err != nil {
		return nil, all, err
	}
	items = make([]Repeat[R], len(b.Items))
	var first map[KeyHash]int
	for i := range b.Items {
		item := &items[i]
		item.Of = -1
		key := b.Items[i].Key
		if key == nil {
			continue
		}
		item.Hash = key.Hash()
		if j, ok := first[item.Hash]; ok {
			if b.Items[j].Key.Sum != key.Sum {
				return nil, nil, &KeyReusedError{Item: i}
			}
			item.Of = j
			continue
		}
		if first == nil {
			first = make(map[KeyHash]int)
		}
		first[item.Hash] = i
		known, err := book.LookUp(item.Hash)
		switch {
		case err != nil:
			return nil, nil, err
		case known == nil:
			continue
		case known.Sum != key.Sum || len(known.Receipts) != 1:
			return nil, nil, &KeyReusedError{Item: i}
		}
		item.Known = &known.Receipts[0]
		if item.Answer, err = book.Repeated(item.Known); err != nil {
			return nil, nil, err
		}
	}
	return items, nil, nil
}

// repeatedWhole returns the receipts of a batch whose own key is known, or nil.
func repeatedWhole[R any](b *Batch, book KeyBook[R]) ([]Receipt, error) {
	if b.Key == nil {
		return nil, nil
	}
	known, err := book.LookUp(b.Key.Hash())
	if known == nil || err != nil {
		return nil, err
	}
	// The same content gives as many answers; a key of one event for a batch does not.
	if known.Sum != b.Key.Sum || len(known.Receipts) != len(b.Items) {
		return nil, &KeyReusedError{Item: -1}
	}
	all := make([]Receipt, len(known.Receipts))
	for i := range known.Receipts {
		if all[i], err = book.Repeated(&known.Receipts[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}
