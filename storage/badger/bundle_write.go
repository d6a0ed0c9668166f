package badger

import (
	"cmp"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// writeTried writes the attempts that the group adds to a subscription. There is room for
// them: each has asked for a record of its own.
func (c *committer) writeTried(u *sub) {
	slices.SortStableFunc(u.tried, func(a, b *relay.AttemptRecord) int { return cmp.Compare(a.Pos>>windowShift, b.Pos>>windowShift) })
	for rest := u.tried; len(rest) > 0; {
		at := windowOf(u.id, rest[0].Pos)
		rec, before, n := newRecord(min(len(rest)*bundledMost/4, bundleBytes)), relay.Seq(0), 0
		for ; n < min(len(rest), bundleMost) && len(rec) < bundleBytes && windowOf(u.id, rest[n].Pos) == at; n++ {
			c.fields = appendAttempt(c.fields[:0], &rest[n].Attempt)
			rec = appendBundled(rec, before, bundled{rest[n].Seq, c.fields})
			before = rest[n].Seq
		}
		c.tail.bundles++
		key := bundleKey(at, c.tail.bundles)
		rec = seal(key, rec)
		c.put(key, rec)
		c.grow(len(key) + len(rec))
		rest = rest[n:]
	}
	clear(u.tried) // they belong to who has committed them
	if cap(u.tried) > bundleMost {
		u.tried = nil
	}
	u.tried = u.tried[:0]
}

// openBundle is a bundle that a group may change.
type openBundle struct {
	bundle
	size    int // what it took before
	changed bool
}

// openWindow returns the bundles of a window as the group leaves them, with room to write
// them again. What cannot be read of them goes: nobody knows what it holds.
func (c *committer) openWindow(at windowAt) ([]*openBundle, error) {
	if open, ok := c.windows[at]; ok {
		return open, nil
	}
	var open []*openBundle
	need := load{}
	err := c.beforeGroup().bundles(at, func(key, rec []byte) error {
		if len(key) != bundleKeyLen {
			return nil
		}
		o := &openBundle{size: len(key) + len(rec)}
		if err := o.decode(key, slices.Clone(rec)); err != nil {
			o.attempts, o.changed = nil, true
		}
		open = append(open, o)
		need = need.plus(record(o.size))
		return nil
	})
	if err != nil {
		return nil, err
	}
	// If this commits the group, it leaves what was read as it is.
	if err := c.room(need); err != nil {
		return nil, err
	}
	c.windows[at] = open
	return open, nil
}

// forget takes the attempts of a delivery out of its bundles.
func (c *committer) forget(seq relay.Seq, p place) error {
	open, err := c.openWindow(windowOf(p.sub, p.pos))
	for _, o := range open {
		before := len(o.attempts)
		o.attempts = slices.DeleteFunc(o.attempts, func(one bundled) bool { return one.seq == seq })
		o.changed = o.changed || len(o.attempts) < before
	}
	return err
}

// writeWindows writes the bundles that have changed, or removes those that are empty.
func (c *committer) writeWindows() {
	for _, open := range c.windows {
		for _, o := range open {
			if !o.changed {
				continue
			}
			key, rec := o.key(), []byte(nil)
			if len(o.attempts) > 0 {
				rec = o.encode(key)
			}
			c.replace(key, rec, o.size)
		}
	}
}
