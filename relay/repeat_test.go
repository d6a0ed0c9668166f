package relay

import (
	"errors"
	"slices"
	"testing"
)

// book is a KeyBook whose receipts are IDs.
type book map[KeyHash]*KnownKey[string]

var errDamaged = errors.New("damaged")

func (b book) LookUp(h KeyHash) (*KnownKey[string], error) { return b[h], nil }

func (b book) Repeated(id *string) (Receipt, error) {
	if *id == "" {
		return Receipt{}, errDamaged
	}
	return Receipt{ID: *id, Duplicate: true}, nil
}

func keyOf(text string, sum byte) *Key { return &Key{Kind: KeyHeader, Text: text, Sum: [32]byte{sum}} }

func (b book) keep(k *Key, ids ...string) {
	b[k.Hash()] = &KnownKey[string]{Sum: k.Sum, Receipts: ids}
}

func TestRepeatsAreFoundInTheBatchAndBeforeIt(t *testing.T) {
	known := book{}
	known.keep(keyOf("old", 1), "evt_old")
	batch := &Batch{Items: []Item{{}, {Key: keyOf("old", 1)}, {Key: keyOf("new", 2)}, {Key: keyOf("new", 2)}}}
	items, all, err := Repeats(batch, known)
	if err != nil || all != nil {
		t.Fatalf("%v, %v", all, err)
	}
	if items[0].Of != -1 || !items[0].New() {
		t.Errorf("without a key: %+v", items[0])
	}
	if items[1].New() || *items[1].Known != "evt_old" || !items[1].Answer.Duplicate || items[1].Answer.ID != "evt_old" {
		t.Errorf("stored before: %+v", items[1])
	}
	if !items[2].New() || items[2].Hash != batch.Items[2].Key.Hash() {
		t.Errorf("the first of its key: %+v", items[2])
	}
	if items[3].New() || items[3].Of != 2 {
		t.Errorf("the second of its key: %+v", items[3])
	}
}

func TestWholeBatchIsRepeated(t *testing.T) {
	known := book{}
	known.keep(keyOf("batch", 1), "evt_1", "evt_2")
	batch := &Batch{Items: make([]Item, 2), Key: keyOf("batch", 1)}
	items, all, err := Repeats(batch, known)
	ids := make([]string, len(all))
	for i, r := range all {
		ids[i] = r.ID
	}
	if err != nil || items != nil || !slices.Equal(ids, []string{"evt_1", "evt_2"}) {
		t.Errorf("%v, %v, %v", items, all, err)
	}
}

func TestKeysThatCannotBeRepeatedAreRefused(t *testing.T) {
	known := book{}
	known.keep(keyOf("one", 1), "evt_1")
	known.keep(keyOf("two", 1), "evt_1", "evt_2")
	known.keep(keyOf("damaged", 1), "")
	for name, c := range map[string]struct {
		batch Batch
		item  int // of the KeyReusedError; -2: another error
	}{
		"another body":                  {Batch{Items: []Item{{}, {Key: keyOf("one", 9)}}}, 1},
		"another body in the batch":     {Batch{Items: []Item{{Key: keyOf("a", 1)}, {Key: keyOf("a", 2)}}}, 1},
		"a batch's key for an event":    {Batch{Items: []Item{{Key: keyOf("two", 1)}}}, 0},
		"an event's key for a batch":    {Batch{Items: make([]Item, 2), Key: keyOf("one", 1)}, -1},
		"another batch":                 {Batch{Items: make([]Item, 2), Key: keyOf("two", 2)}, -1},
		"unreadable receipt":            {Batch{Items: []Item{{Key: keyOf("damaged", 1)}}}, -2},
		"unreadable receipt of a whole": {Batch{Items: make([]Item, 1), Key: keyOf("damaged", 1)}, -2},
	} {
		t.Run(name, func(t *testing.T) {
			items, all, err := Repeats(&c.batch, known)
			if items != nil || all != nil {
				t.Errorf("%v, %v", items, all)
			}
			reused, ok := errors.AsType[*KeyReusedError](err)
			if c.item == -2 {
				if !errors.Is(err, errDamaged) {
					t.Errorf("%v", err)
				}
			} else if !ok || reused.Item != c.item {
				t.Errorf("%v", err)
			}
		})
	}
}
