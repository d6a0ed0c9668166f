package badger

import (
	"errors"
	"fmt"
	"runtime"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// request is something to be written. Its methods are called by the committer only,
// in the order in which they stand here.
type request interface {
	// plan adds what is to be written to the committer's group, or says why nothing is
	// written. It changes the committer's tentative state only once it cannot fail.
	plan(c *committer) error
	// settle is called when the group is on the disk, or with the error.
	settle(err error)
	// answer is the channel on which release sends.
	answer() chan error
}

// committer is the only writer. It gathers requests into a group, which is one
// transaction and one sync.
type committer struct {
	s  *Store
	db *database
	// commit is a seam for tests, in which it fails.
	commit func(*database, *bdb.Txn) error

	// groupLimit is where a group ends. A request that brings more than txnLimit has a group of
	// its own, which is larger than a transaction may be.
	groupLimit, txnLimit load

	// broken is the error that every request gets, once there is one.
	broken error

	// The group under way: its transaction (nil if nothing was looked up or written
	// yet), or what it writes where that is more than a transaction takes (else nil); what it
	// weighs, who waits for it.
	txn     *bdb.Txn
	redo    *redo
	records recordRoom
	// before is what was committed before the group; nil if nobody has asked for it.
	before  *beforeGroup
	used    load
	waiting []waiter

	// State as it will be after the group.
	tail      tail
	tailDirty bool
	touched   []*sub
	fresh     []*sub // not in the table before the commit
	freshName map[string]*sub
	// changes counts, over all groups, exceptions that were put and events that got a place
	// later; lastPlaced is the count of the last of these. What was seen when it was at most
	// born may have been seen in another database.
	changes, lastPlaced, born uint64
	// opened are the chunks that the group takes entries out of, of each log in order.
	opened map[uint32][]*openChunk
	// windows are those whose attempts the group may change.
	windows map[windowAt][]*openBundle
	// fields are those of the attempt that is being written.
	fields []byte

	// fenced is where the last fence stands, unfenced what was written since.
	fenced   relay.Seq
	unfenced int64
}

type waiter struct {
	request request
	err     error // the request's own, from plan
}

func newCommitter(s *Store) *committer {
	db := s.db.Load()
	limit := load{db.MaxBatchCount(), db.MaxBatchSize()}
	born := s.changes.Add(1)
	return &committer{
		changes: born, lastPlaced: born, born: born,
		s:      s,
		db:     db,
		commit: (*database).commit,
		// Half of what Badger takes keeps a group's sync short. One request may bring more: an
		// event of the largest size, or for thousands of subscriptions, is not half.
		groupLimit: load{limit.count / 2, limit.size / 2},
		txnLimit:   load{limit.count*9/10 - 1, limit.size*19/20 - tailSize},
		tail:       s.tail,
		freshName:  make(map[string]*sub),
		opened:     make(map[uint32][]*openChunk),
		windows:    make(map[windowAt][]*openBundle),
	}
}

// run takes requests until the channel is closed.
func (c *committer) run() {
	defer close(c.s.stopped)
	for r := range c.s.requests {
		c.take(r)
		// Those who were just answered come again at once, if they are let. With 64 writers
		// this was measured to bring 53 events into a sync in place of 35.
		runtime.Gosched()
		for more := true; more && c.used.fits(c.groupLimit); {
			select {
			case r, more = <-c.s.requests:
				if more {
					c.take(r)
				}
			default:
				more = false
			}
		}
		_ = c.flush() // who waits has got the error
		if c.broken != nil && !c.mend() {
			return
		}
	}
}

func (c *committer) take(r request) {
	err := c.broken
	if err == nil {
		err = r.plan(c)
	}
	c.waiting = append(c.waiting, waiter{r, err})
}

// grow notes that size bytes of records are added, of the sort that trimming removes. The
// tail goes with them: one record for a group.
func (c *committer) grow(size int) {
	c.tail.live += uint64(size)
	c.tailDirty = true
}

// room makes place for l in the group: if it is too full, it is committed first.
func (c *committer) room(l load) error {
	if c.used.count > 0 && !c.used.plus(l).fits(c.groupLimit) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if !l.fits(c.txnLimit) {
		c.redo = &redo{}
	}
	c.used = c.used.plus(l)
	return nil
}

// transaction returns that of the group. Reading from it sees what the group writes.
func (c *committer) transaction() *bdb.Txn {
	if c.txn == nil {
		c.txn = c.db.NewTransaction(true)
	}
	return c.txn
}

// put writes a record for which there is room.
func (c *committer) put(key, rec []byte) { c.change(change{key: key, rec: rec}) }

// remove deletes a record. It takes room like one.
func (c *committer) remove(key []byte) { c.change(change{key: key, gone: true}) }

// change takes a change into the group. An error of Badger's means that the accounts here are
// wrong: it is kept and fails the group. So does a record for the value log, which is not synced.
func (c *committer) change(one change) {
	var err error
	if c.redo != nil {
		c.redo.changes = append(c.redo.changes, one)
	} else {
		err = one.write(c.transaction())
	}
	if size := len(one.rec); size >= valueThreshold {
		err = errors.Join(err, fmt.Errorf("a record of %d bytes is larger than a record may be", size))
	}
	if err != nil {
		c.broken = errors.Join(c.broken, err)
	}
}

// replace writes a record in the place of one of size bytes with its key, or removes it if
// rec is nil.
func (c *committer) replace(key, rec []byte, size int) {
	if rec == nil {
		c.remove(key)
	} else {
		c.put(key, rec)
		size -= len(key) + len(rec)
	}
	c.tail.live -= min(c.tail.live, uint64(max(size, 0)))
	c.tailDirty = true
}

// flush commits the group, publishes the state after it, and answers.
func (c *committer) flush() error {
	if c.before != nil {
		c.before.close()
		c.before = nil
	}
	err := c.broken
	if err == nil {
		err = c.write()
	}
	if err == nil {
		c.publish()
	} else if !errors.Is(err, relay.ErrBroken) { // the store may be said to be, for another reason
		c.broken = c.s.breakWith(err)
	}
	if c.txn != nil {
		c.txn.Discard()
		c.txn = nil
	}
	c.unfenced += c.used.size
	c.used, c.redo = load{}, nil
	c.records.reuse()
	// All are settled before the first is answered, and in commit order.
	for i := range c.waiting {
		if w := &c.waiting[i]; c.broken != nil {
			w.err = c.broken
		}
		c.waiting[i].request.settle(c.waiting[i].err)
	}
	for i, w := range c.waiting {
		w.request.answer() <- w.err
		c.waiting[i] = waiter{}
	}
	c.waiting = c.waiting[:0]
	return c.broken
}

func (c *committer) write() error {
	for _, u := range c.touched {
		c.writeAdded(u)
		c.writeTried(u)
		if u.dirty {
			key := progressKey(u.id)
			c.put(key, encodeProgress(key, &u.next))
		}
	}
	c.writeOpened()
	c.writeWindows()
	if c.tailDirty {
		c.put(tailKey, encodeTail(c.tail))
	}
	if c.broken != nil || c.txn == nil && c.redo == nil {
		return c.broken
	}
	c.introduce()
	if err := c.store(); err != nil {
		c.withdraw()
		return err
	}
	// Before the answers: what was promised is known from here on.
	return c.s.sentinel.note(c.tail.ordinal, c.tail.last)
}

// store returns when the group is on the disk.
func (c *committer) store() error {
	if c.redo == nil {
		return c.commit(c.db, c.txn)
	}
	w := newInTurn(c.db, c.commit)
	defer w.end()
	return c.redo.commit(w)
}

// introduce adds the group's new subscriptions to the table, before there are records that
// name them by their numbers: readers may see those as soon as they are committed.
func (c *committer) introduce() {
	t := &c.s.subs
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range c.fresh {
		t.add(u)
	}
}

// withdraw takes them out again: the commit has failed.
func (c *committer) withdraw() {
	t := &c.s.subs
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range c.fresh {
		delete(t.byName, u.name)
	}
	t.byID = t.byID[:len(t.byID)-len(c.fresh)]
}

// publish makes what the group changed visible to readers.
func (c *committer) publish() {
	t := &c.s.subs
	t.mu.Lock()
	for _, u := range c.touched {
		u.current = u.next
		if u.lowestPut > 0 {
			u.openFloor = min(u.openFloor, u.lowestPut)
			u.openPuts++
		}
		u.touched, u.dirty, u.lowestPut = false, false, 0
	}
	t.mu.Unlock()
	c.s.mu.Lock()
	c.s.tail = c.tail
	c.s.mu.Unlock()
	c.s.changes.Store(c.changes)
	c.s.space.live.Store(int64(c.tail.size()))
	clear(c.touched)
	clear(c.freshName)
	clear(c.opened)
	clear(c.windows)
	c.touched, c.fresh, c.tailDirty = c.touched[:0], c.fresh[:0], false
}

// sub returns the subscription of that name, or makes it; newLoad says what that
// takes.
func (c *committer) sub(name string) *sub {
	if u := c.known(name); u != nil {
		return u
	}
	none := state{progress: relay.Progress{Subscription: name}}
	u := &sub{
		id:      uint32(len(c.s.subs.all()) + len(c.fresh) + 1),
		name:    name,
		current: none,
		next:    none,
	}
	key := nameKey(name)
	c.put(key, encodeNumber(key, uint64(u.id)))
	c.fresh = append(c.fresh, u)
	c.freshName[name] = u
	return u
}

func (c *committer) known(name string) *sub {
	if u := c.s.subs.get(name); u != nil {
		return u
	}
	return c.freshName[name]
}

// nameLoad is what a subscription takes if it is new.
func (c *committer) nameLoad(name string) load {
	if c.known(name) != nil {
		return load{}
	}
	return record(1 + len(name) + numberLen)
}

// byID returns a subscription that may be of this group.
func (c *committer) byID(id uint32) (*sub, error) {
	all := c.s.subs.all()
	if n := int(id) - len(all) - 1; n >= 0 && n < len(c.fresh) {
		return c.fresh[n], nil
	}
	return named(all, id)
}

// touch notes that u.next has changed.
func (c *committer) touch(u *sub) {
	if !u.touched {
		u.touched = true
		c.touched = append(c.touched, u)
	}
}
