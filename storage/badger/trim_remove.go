package badger

import "slices"

// removeEvent removes what is kept of an event.
func (c *committer) removeEvent(t *trimmable) error {
	for _, key := range t.attempts {
		if err := c.room(record(attemptKeyLen)); err != nil {
			return err
		}
		c.remove(key)
	}
	for i, p := range t.places {
		u, err := c.byID(p.sub)
		if err != nil {
			return err
		}
		// The head goes with the entry, so that the position is never given again, and
		// the floor, so that a search does not begin below it.
		need := record(exceptKeyLen).plus(record(chunkLen)).plus(record(progressSize(&u.next.progress)))
		if err := c.forget(t.seq, p); err != nil {
			return err
		}
		if err := c.room(need); err != nil {
			return err
		}
		if err := c.strike(u, p.pos); err != nil {
			return err
		}
		if slices.Contains(t.closed, i) {
			c.remove(exceptKey(classClosed, p.sub, p.pos))
		}
		c.touch(u)
		u.dirty = true
		if err := c.raiseFloor(u, p.pos); err != nil {
			return err
		}
	}
	// The tail goes with the event in the same way: a crash may come before mark.
	need := record(eventKeyLen).plus(record(tailSize))
	if t.movedID != "" {
		need = need.plus(record(1 + len(t.movedID)))
	}
	if err := c.room(need); err != nil {
		return err
	}
	c.remove(eventKey(t.seq))
	if t.movedID != "" {
		c.remove(movedKey(t.movedID))
	}
	c.tail.removed++
	c.tail.live -= min(c.tail.live, uint64(t.size))
	c.tail.known = max(c.tail.known, t.seq)
	c.tailDirty = true
	return nil
}

// floorSteps bounds the search for the lowest position that is left: by so many chunks, and
// positions that have none. What is left to do is done when that one goes.
const floorSteps = 64

// raiseFloor moves the floor of a log up if pos was the lowest position, over those
// that went before it, and removes the closed spans that lie below.
func (c *committer) raiseFloor(u *sub, pos uint64) error {
	floor := max(u.next.floor, 1)
	if pos != floor {
		return nil
	}
	floor++
	for range floorSteps {
		if floor > u.next.progress.Low {
			break
		}
		next, left, err := c.lowestLeft(u, floor)
		if err != nil {
			return err
		}
		if floor = next; left {
			break
		}
	}
	floor = min(floor, max(u.next.progress.Low, pos)+1)
	u.next.floor = floor
	for _, e := range u.next.spans {
		if e.To < floor && e.Kind.Closed() {
			if err := c.room(record(exceptKeyLen)); err != nil {
				return err
			}
			c.removeSpan(u, classSpan, e.From)
		}
	}
	return nil
}
