package postgres

import (
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// group is what is written together, by columns: a statement takes arrays, so that its cost
// is that of its rows.
type group struct {
	// synced: a 202 or the like hangs on it. Without it a crash of the server may undo it.
	synced bool
	// weight is about how many bytes are sent.
	weight int

	events struct {
		seqs, ordinals   []int64
		types            []string
		sizes            []int32
		subs, positions  []string
		keys, attributes []*string
		data             [][]byte
	}
	log struct {
		subs      []int32
		positions []int64
		seqs      []int64
		sizes     []int32
	}
	keys struct {
		stored   []int64
		hashes   [][]byte
		sums     [][]byte
		receipts []string
		places   map[hash]int // by which a key is found again
	}
	// exceptions and attempts by their place: what was put there last stands, nil is none.
	exceptions map[exceptionPlace]*relay.Exception
	attempts   map[attemptPlace]*relay.Attempt
	// further are statements of a request that has the group for itself.
	further []statement
	// written says that something was written already in the transaction that is open.
	written bool
	// hint: other members are to look at it.
	hint bool
	// again: some attempts may be in the database already.
	again bool
}

type statement struct {
	sql  string
	args []any
}

type exceptionPlace struct {
	sub    int32
	replay bool
	first  uint64
}

type attemptPlace struct {
	seq    relay.Seq
	sub    int32
	number int
}

func newGroup() group {
	return group{
		exceptions: make(map[exceptionPlace]*relay.Exception),
		attempts:   make(map[attemptPlace]*relay.Attempt),
	}
}

// rowWeight is about what a row takes beside its contents.
const rowWeight = 100

func (g *group) addEvent(e *relay.Event, seq relay.Seq, ordinal uint64, subs []int32, positions []int64, keys []string) error {
	attributes, err := encodeAttributes(e)
	if err != nil {
		return err
	}
	orderKeys, err := encodeOrderKeys(keys)
	if err != nil {
		return err
	}
	c := &g.events
	c.seqs = append(c.seqs, int64(seq))
	c.ordinals = append(c.ordinals, int64(ordinal))
	c.types = append(c.types, column(e.Type))
	c.sizes = append(c.sizes, int32(len(e.Data)))
	c.subs = append(c.subs, array(subs))
	c.positions = append(c.positions, array(positions))
	c.keys = append(c.keys, orderKeys)
	c.attributes = append(c.attributes, &attributes)
	c.data = append(c.data, e.Data)
	for i, sub := range subs {
		g.addEntry(sub, positions[i], seq, len(e.Data))
	}
	g.weight += rowWeight + len(attributes) + len(e.Data)
	g.synced = true
	return nil
}

// encodeOrderKeys returns nil if there is none.
func encodeOrderKeys(keys []string) (*string, error) {
	if !slices.ContainsFunc(keys, func(k string) bool { return k != "" }) {
		return nil, nil
	}
	list := make([]text, len(keys))
	for i, k := range keys {
		list[i] = text(k)
	}
	raw, err := encode(list)
	return &raw, err
}

func (g *group) addEntry(sub int32, pos int64, seq relay.Seq, size int) {
	c := &g.log
	c.subs = append(c.subs, sub)
	c.positions = append(c.positions, pos)
	c.seqs = append(c.seqs, int64(seq))
	c.sizes = append(c.sizes, int32(size))
	g.weight += rowWeight
}

func (g *group) addKey(h hash, stored relay.Seq, k *known) error {
	receipts, err := encode(k.Receipts)
	if err != nil {
		return err
	}
	c := &g.keys
	g.weight += rowWeight + len(receipts)
	// A key of an item and of its batch: the latter stands.
	if i, ok := c.places[h]; ok {
		c.stored[i], c.sums[i], c.receipts[i] = int64(stored), k.Sum[:], receipts
		return nil
	}
	if c.places == nil {
		c.places = make(map[hash]int)
	}
	c.places[h] = len(c.stored)
	c.stored = append(c.stored, int64(stored))
	c.hashes = append(c.hashes, h[:])
	c.sums = append(c.sums, k.Sum[:])
	c.receipts = append(c.receipts, receipts)
	return nil
}

// apply adds what an update says beside the progress.
func (g *group) apply(sub int32, u *relay.Update) {
	// Drop comes first, so that an update can move a replay and at the same time say what
	// became of the delivery at its old beginning.
	for _, first := range u.Drop {
		g.exceptions[exceptionPlace{sub, false, first}] = nil
		g.exceptions[exceptionPlace{sub, true, first}] = nil
	}
	for i := range u.Put {
		x := &u.Put[i]
		g.exceptions[exceptionPlace{sub, x.Kind == relay.Replay, x.From}] = x
	}
	for i := range u.Attempts {
		a := &u.Attempts[i]
		if old := relay.Forgotten(a.Number); old > 0 {
			g.attempts[attemptPlace{a.Seq, sub, old}] = nil
		}
		g.attempts[attemptPlace{a.Seq, sub, a.Number}] = &a.Attempt
		g.weight += rowWeight + len(a.Error) + len(a.Excerpt)
	}
	g.weight += rowWeight * (len(u.Drop) + len(u.Put))
}

// rows is about how many rows are written.
func (g *group) rows() int {
	return len(g.events.seqs) + len(g.log.seqs) + len(g.keys.stored) + len(g.exceptions) + len(g.attempts) + len(g.further)
}

// queue puts the group's statements into a batch, but for those about the tail and the
// subscriptions.
func (g *group) queue(b *pgx.Batch) error {
	if c := &g.events; len(c.seqs) > 0 {
		b.Queue(insertEvents, c.seqs, c.ordinals, c.types, c.sizes, c.subs, c.positions, c.keys, c.attributes, c.data)
	}
	if c := &g.log; len(c.seqs) > 0 {
		b.Queue(insertLog, c.subs, c.positions, c.seqs, c.sizes)
	}
	if c := &g.keys; len(c.stored) > 0 {
		b.Queue(insertKeys, c.stored, c.hashes, c.sums, c.receipts)
	}
	if err := g.queueExceptions(b); err != nil {
		return err
	}
	if err := g.queueAttempts(b); err != nil {
		return err
	}
	for _, s := range g.further {
		b.Queue(s.sql, s.args...)
	}
	return nil
}

func (g *group) queueExceptions(b *pgx.Batch) error {
	var subs, goneSubs []int32
	var replays, open, goneReplays []bool
	var firsts, lasts, goneFirsts []int64
	var records []string
	for place, x := range g.exceptions {
		if x == nil {
			goneSubs = append(goneSubs, place.sub)
			goneReplays = append(goneReplays, place.replay)
			goneFirsts = append(goneFirsts, int64(place.first))
			continue
		}
		record, err := encodeException(x)
		if err != nil {
			return err
		}
		subs = append(subs, place.sub)
		replays = append(replays, place.replay)
		firsts = append(firsts, int64(x.From))
		lasts = append(lasts, int64(x.To))
		open = append(open, !x.Kind.Closed())
		records = append(records, record)
	}
	if len(goneSubs) > 0 {
		b.Queue(deleteExceptions, goneSubs, goneReplays, goneFirsts)
	}
	if len(subs) > 0 {
		b.Queue(putExceptions, subs, replays, firsts, lasts, open, records)
	}
	return nil
}

func (g *group) queueAttempts(b *pgx.Batch) error {
	var seqs, goneSeqs []int64
	var subs, numbers, goneSubs, goneNumbers []int32
	var records []string
	var excerpts [][]byte
	for place, a := range g.attempts {
		if a == nil {
			goneSeqs = append(goneSeqs, int64(place.seq))
			goneSubs = append(goneSubs, place.sub)
			goneNumbers = append(goneNumbers, int32(place.number))
			continue
		}
		record, err := encodeAttempt(a)
		if err != nil {
			return err
		}
		seqs = append(seqs, int64(place.seq))
		subs = append(subs, place.sub)
		numbers = append(numbers, int32(place.number))
		records = append(records, record)
		excerpts = append(excerpts, a.Excerpt)
	}
	if len(goneSeqs) > 0 {
		b.Queue(deleteAttempts, goneSeqs, goneSubs, goneNumbers)
	}
	if len(seqs) > 0 {
		put := insertAttempts
		if g.again {
			put = insertAttempts + replaceAttempts
		}
		b.Queue(put, seqs, subs, numbers, records, excerpts)
	}
	return nil
}

// days returns the days of which the group has rows in partitions.
func (g *group) days() (events, keys []day) {
	found := make(map[day]bool)
	for _, seq := range g.events.seqs {
		found[dayOf(relay.Seq(seq))] = true
	}
	for place, a := range g.attempts {
		if a != nil {
			found[dayOf(place.seq)] = true
		}
	}
	for _, stored := range g.keys.stored {
		keys = append(keys, dayOf(relay.Seq(stored)))
	}
	return slices.Sorted(maps.Keys(found)), slices.Compact(keys)
}

const (
	insertEvents = `insert into events (seq, ordinal, type, size, subscriptions, positions, order_keys, attributes, data)
		select e.seq, e.ordinal, e.type, e.size, e.subscriptions::integer[], e.positions::bigint[], e.order_keys::json, e.attributes::json, e.data
		from unnest($1::bigint[], $2::bigint[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[])
		as e (seq, ordinal, type, size, subscriptions, positions, order_keys, attributes, data)`
	insertLog = `insert into log (subscription, pos, seq, size)
		select * from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[])`
	insertKeys = `insert into keys (stored, hash, sum, receipts)
		select k.stored, k.hash, k.sum, k.receipts::json
		from unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::text[]) as k (stored, hash, sum, receipts)`
	deleteExceptions = `delete from exceptions x
		using unnest($1::integer[], $2::boolean[], $3::bigint[]) as gone (subscription, replay, first)
		where x.subscription = gone.subscription and x.replay = gone.replay and x.first = gone.first`
	putExceptions = `insert into exceptions (subscription, replay, first, last, open, record)
		select x.subscription, x.replay, x.first, x.last, x.open, x.record::json
		from unnest($1::integer[], $2::boolean[], $3::bigint[], $4::bigint[], $5::boolean[], $6::text[])
		as x (subscription, replay, first, last, open, record)
		on conflict (subscription, replay, first) do update
		set last = excluded.last, open = excluded.open, record = excluded.record`
	deleteAttempts = `delete from attempts a
		using unnest($1::bigint[], $2::integer[], $3::integer[]) as gone (seq, subscription, number)
		where a.seq = gone.seq and a.subscription = gone.subscription and a.number = gone.number`
	insertAttempts = `insert into attempts (seq, subscription, number, record, excerpt)
		select a.seq, a.subscription, a.number, a.record::json, a.excerpt
		from unnest($1::bigint[], $2::integer[], $3::integer[], $4::text[], $5::bytea[])
		as a (seq, subscription, number, record, excerpt)`
	// replaceAttempts is for what may be there, which is found out first otherwise: to insert
	// with it costs the server twice as much.
	replaceAttempts = ` on conflict (seq, subscription, number) do update
		set record = excluded.record, excerpt = excluded.excerpt`
)

// add puts a statement of a request's own into the group.
func (g *group) add(sql string, args ...any) {
	g.further = append(g.further, statement{sql, args})
	g.synced = true
}
