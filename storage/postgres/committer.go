package postgres

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// request is something to be written. Its methods are called by the committer only, in the
// order in which they stand here.
type request interface {
	// keys are the idempotency keys that it has to know.
	keys(add func(*relay.Key))
	// alone reports whether it reads what others may write, so that it has a group of its
	// own.
	alone() bool
	// plan adds what is to be written to the committer's group, or says why nothing is
	// written. It changes the committer's state only once it cannot fail. It is called again
	// for a group that could not be written since another relay had written meanwhile: what
	// it planned before is void.
	plan(ctx context.Context, c *committer) error
	// settle is called when the group is committed, or with the error.
	settle(err error)
	// answer is the channel that is sent on at the end.
	answer() chan error
}

// committer is the only writer of this relay. It gathers requests into groups.
type committer struct {
	s          *Store
	conn       *pgx.Conn
	partitions partitions
	// doubtful is set by the server's word that a commit is not where it should be.
	doubtful atomic.Bool
	// broken is the error that every request gets, once there is one.
	broken error
	// probed is when it was last found that the server has no room.
	probed time.Time

	place place // among the members

	// The group under way and who waits for it.
	group   group
	waiting []waiter
	// known are idempotency keys that were looked up or added: nil for those that are new.
	// sought says that they were looked up.
	known  map[hash]*known
	sought bool
	// locked says that the row of the tail is locked by a transaction which is open.
	locked bool
	// strange says that something was read which is not known here: somebody else has written.
	strange bool

	// State as it will be after the group.
	tail      tail
	touched   []*sub
	fresh     []*sub // not in the table yet
	freshName map[string]*sub
}

// tail is where the log ends.
type tail struct {
	last    relay.Seq
	ordinal uint64
	live    int64
	// epoch is that of the members, rev the number of the last change of subscriptions.
	epoch, rev int64
}

type waiter struct {
	request request
	err     error // the request's own, from plan
}

// Bounds of a group: rows, and bytes. A request that is larger than that alone has a group
// of its own.
const (
	groupRows   = 4000
	groupWeight = 4 << 20
)

// run takes requests until the channel is closed. Between groups it looks after the lease,
// and at what other members have done.
func (c *committer) run() {
	defer close(c.s.stopped)
	tick := time.NewTicker(c.s.times.look())
	defer tick.Stop()
	// Hints set it, the first of which comes of having entered.
	var hinted <-chan time.Time
	for {
		var gathered []request
		look := false
		select {
		case r, ok := <-c.s.requests:
			if !ok {
				c.end()
				return
			}
			// Those who were just answered come again at once, if they are let.
			runtime.Gosched()
			gathered = c.gather(r)
		case <-c.s.hints:
			// Hints may come thick and fast.
			hinted = time.After(max(0, hintPause-time.Since(c.place.looked)))
			continue
		case <-hinted:
			look = true
		case <-tick.C:
		}
		c.take(gathered)
		if look || time.Since(c.place.looked) >= c.s.times.look() {
			c.look()
		}
		c.lookForRoom()
		if c.broken != nil && !c.mend() {
			c.end()
			return
		}
	}
}

// gather returns r and what else waits.
func (c *committer) gather(r request) []request {
	all := []request{r}
	for len(all) < queueLength {
		select {
		case more, ok := <-c.s.requests:
			if !ok {
				return all
			}
			all = append(all, more)
		default:
			return all
		}
	}
	return all
}

// take plans and commits requests, group by group.
func (c *committer) take(requests []request) {
	c.forget()
	for len(requests) > 0 {
		n, refusal := len(requests), c.broken
		if refusal == nil {
			err := c.bounded(func(ctx context.Context) (err error) { n, err = c.write(ctx, requests); return err })
			if err != nil {
				n, refusal = len(requests), c.ranOut(err)
			}
			if err != nil && refusal == nil {
				c.fail(err)
				refusal = c.broken
			}
		}
		c.answer(requests[:n], refusal)
		requests = requests[n:]
	}
}

// answer answers requests, of which those of the group stand in c.waiting, or refuses them.
func (c *committer) answer(requests []request, refusal error) {
	if refusal != nil {
		c.waiting = c.waiting[:0]
		for _, r := range requests {
			c.waiting = append(c.waiting, waiter{r, refusal})
		}
	}
	// All are settled before the first is answered, and in commit order.
	for _, w := range c.waiting {
		w.request.settle(w.err)
	}
	for i, w := range c.waiting {
		w.request.answer() <- w.err
		c.waiting[i] = waiter{}
	}
	c.waiting = c.waiting[:0]
}

// forget drops what was looked up.
func (c *committer) forget() {
	clear(c.known)
	c.sought = false
}

// bounded runs what speaks with the server.
func (c *committer) bounded(fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.s.times.commit)
	defer cancel()
	return fn(ctx)
}

// fail ends all writing until the state was read from the database again: what of the group
// was committed is not known.
func (c *committer) fail(err error) {
	if c.broken != nil {
		return
	}
	if pgconn.Timeout(err) {
		// Time goes on for a relay that is frozen: what others did meanwhile is found out by
		// the next connection.
		err = fmt.Errorf("the database has not answered within %s, or this relay stood still: %w", c.s.times.commit, err)
	}
	c.broken = fmt.Errorf("%w: committing a group: %w", relay.ErrBroken, err)
	if isCode(err, "53100") { // disk_full
		c.broken = fmt.Errorf("%w: %w", relay.ErrFull, c.broken)
	}
	c.s.setFailure(c.broken)
	c.s.log.Error("the store has failed and takes no more writes until it is opened again", zap.Error(err))
}

// spoil gives up a group in the middle of a request, which leaves it in part.
func (c *committer) spoil(err error) error {
	c.fail(err)
	return c.broken
}

// sub returns the subscription of that name, or makes it.
func (c *committer) sub(name string) *sub {
	if u := c.find(name); u != nil {
		return u
	}
	u := &sub{id: int32(len(c.s.subs.all()) + len(c.fresh) + 1), name: name}
	u.next.Subscription = name
	c.fresh = append(c.fresh, u)
	c.freshName[name] = u
	c.touch(u)
	return u
}

// find returns the subscription of that name, or nil.
func (c *committer) find(name string) *sub {
	if u := c.s.subs.get(name); u != nil {
		return u
	}
	return c.freshName[name]
}

// byID returns a subscription that may be of this group.
func (c *committer) byID(id int32) (*sub, error) {
	all := c.s.subs.all()
	if n := int(id) - len(all) - 1; n >= 0 && n < len(c.fresh) {
		return c.fresh[n], nil
	}
	u, err := named(all, id)
	if err != nil && !c.locked {
		c.strange = true
	}
	return u, err
}

// touch notes that u.next has changed.
func (c *committer) touch(u *sub) {
	if !u.touched {
		u.touched = true
		c.touched = append(c.touched, u)
	}
}

// undo drops the group and all that it changed in memory.
func (c *committer) undo() {
	for _, u := range c.touched {
		u.next, u.touched = u.current, false
	}
	clear(c.touched)
	clear(c.freshName)
	c.touched, c.fresh, c.waiting = c.touched[:0], c.fresh[:0], c.waiting[:0]
	c.group = newGroup()
	c.tail = c.s.committed()
}
