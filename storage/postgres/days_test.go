package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

func TestDays(t *testing.T) {
	at := relay.SeqAt(time.Date(2026, 3, 1, 23, 59, 59, 999e6, time.UTC))
	d := dayOf(at)
	if d.partition("events") != "events_20260301" || dayOf(at+1<<20) != d+1 || dayOf(relay.Seq(d.first())) != d || dayOf(relay.Seq(d.first()-1)) != d-1 {
		t.Fatalf("the day of %d is %d, %s, from %d", at, d, d.partition("events"), d.first())
	}
	for bound, want := range map[string]day{
		"FOR VALUES FROM ('" + "1861637738496000000" + "') TO ('1')": dayOf(1861637738496000000),
		"DEFAULT": 0, "FOR VALUES FROM (MINVALUE) TO ('1')": 0, "": 0,
	} {
		if got, ok := dayOfPartition(bound); got != want || ok != (want != 0) {
			t.Errorf("%q is of the day %d, %v; want %d", bound, got, ok, want)
		}
	}
}

// partitionsOf lists the partitions that the server has.
func partitionsOf(t *testing.T, o Options) string {
	t.Helper()
	return strings.ReplaceAll(postgrestest.Shared(t).Query(t, "postgres",
		"select tablename from pg_tables where schemaname = '"+o.Schema+"' and tablename ~ '_[0-9]{8}$' order by 1"), "\n", " ")
}

// TestEmptyDaysAreDropped: retention gives the room of a day back to the system, and a day
// that still has something stays.
func TestEmptyDaysAreDropped(t *testing.T) {
	clock := storagetest.NewClock(storagetest.Start)
	o := options(t)
	o.Clock = clock.Now
	s := openWith(t, o)
	commit := func(low uint64, put ...relay.Exception) {
		t.Helper()
		if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: low}, Put: put}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		mustAppend(t, s, keyed("1", string(rune('a'+i)), "crm"))
		clock.Advance(24 * time.Hour)
	}
	commit(3, relay.Exception{From: 2, To: 2, Kind: relay.Failed})
	policy := func(delivered, failed, keys time.Duration) {
		t.Helper()
		p := relay.TrimPolicy{DeliveredBefore: clock.Now().Add(-delivered), FailedBefore: clock.Now().Add(-failed), KeysBefore: clock.Now().Add(-keys)}
		for range 2 { // what is empty is dropped by the walk after the one that emptied it
			if _, err := s.Trim(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
	}
	const days = 24 * time.Hour
	policy(30*days, 30*days, 30*days)
	if got, want := partitionsOf(t, o), "attempts_20260301 attempts_20260302 attempts_20260303 events_20260301 events_20260302 events_20260303 keys_20260301 keys_20260302 keys_20260303"; got != want {
		t.Fatalf("partitions: %s\nwant %s", got, want)
	}
	policy(0, 30*days, 36*time.Hour)
	// The last day is still that of the store; the second has a delivery that failed.
	if got, want := partitionsOf(t, o), "attempts_20260302 attempts_20260303 events_20260302 events_20260303 keys_20260303"; got != want {
		t.Fatalf("partitions: %s\nwant %s", got, want)
	}
	// An attempt that comes late makes room for itself.
	first := relay.SeqAt(storagetest.Start)
	if err := s.Commit(t.Context(), []relay.Update{{
		Progress: relay.Progress{Subscription: "crm", Low: 3}, Attempts: []relay.AttemptRecord{{Seq: first, Attempt: relay.Attempt{Number: 1}}},
	}}); err != nil {
		t.Fatal(err)
	}
	s.abandon()
	s = openWith(t, o)
	mustAppend(t, s, one("1", "crm"))
	policy(0, 0, 0)
	if got := partitionsOf(t, o); strings.Contains(got, "events_20260302") || !strings.Contains(got, "events_20260304") {
		t.Fatalf("partitions: %s", got)
	}
}

// TestReadersDoNotHoldUpANewDay: who reads the tables over midnight holds up nothing.
func TestReadersDoNotHoldUpANewDay(t *testing.T) {
	clock := storagetest.NewClock(storagetest.Start)
	o := options(t)
	o.Clock, o.times.commit = clock.Now, impatience
	s := openWith(t, o)
	mustAppend(t, s, keyed("1", "a", "crm"))
	reader, err := pgx.Connect(t.Context(), o.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close(context.Background())
	for _, sql := range []string{"begin", "set search_path = " + o.Schema, "select * from events, attempts, keys"} {
		if _, err := reader.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(24 * time.Hour)
	mustAppend(t, s, keyed("2", "b", "crm"))
	if got, want := partitionsOf(t, o), "attempts_20260301 attempts_20260302 events_20260301 events_20260302 keys_20260301 keys_20260302"; got != want {
		t.Fatalf("partitions: %s\nwant %s", got, want)
	}
	// They are as those that PostgreSQL would have made: each index is part of the one of all.
	if got := postgrestest.Shared(t).Query(t, "postgres", `select count(*) from pg_indexes i where schemaname = '`+o.Schema+`' and tablename ~ '_20260302$'
		and not exists (select 1 from pg_inherits where inhrelid = format('%I.%I', i.schemaname, i.indexname)::regclass)`); got != "0" {
		t.Errorf("%s indexes of the new day are apart", got)
	}
	checkLog(t, s, "crm", 2)
}

// TestEmptyDayThatTakesLongToReadStays, and the relay goes on at once.
func TestEmptyDayThatTakesLongToReadStays(t *testing.T) {
	clock := storagetest.NewClock(storagetest.Start)
	o := options(t)
	o.Clock, o.times.commit = clock.Now, impatience
	s := openWith(t, o)
	mustAppend(t, s, one("1", "crm"))
	if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 1}}}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(48 * time.Hour)
	mustAppend(t, s, one("2", "crm"))
	partition := dayOf(relay.SeqAt(storagetest.Start)).partition("events")
	name := o.Schema + "." + partition
	query := func(sql string) { t.Helper(); postgrestest.Shared(t).Query(t, "postgres", sql) }
	query("alter table " + name + " rename to slow; create view " + name + " as select 1 from pg_sleep(60)")
	trim := func() {
		t.Helper()
		for range 2 { // what is empty is dropped by the walk after the one that emptied it
			if _, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: clock.Now().Add(-time.Hour)}); err != nil {
				t.Fatal(err)
			}
			mustAppend(t, s, one("3", "crm"))
		}
	}
	trim()
	query("drop view " + name + "; alter table " + o.Schema + ".slow rename to " + partition)
	trim()
	if got := partitionsOf(t, o); strings.Contains(got, "events_20260301") {
		t.Errorf("partitions: %s", got)
	}
}

// TestLongWalksRest: events that have to stay are not read again each minute.
func TestLongWalksRest(t *testing.T) {
	s := openWith(t, options(t))
	var b relay.Batch
	for range 1000 {
		b.Items = append(b.Items, relay.Item{Event: &relay.Event{Type: "a"}, Targets: storagetest.Targets("held")})
	}
	for range manyLeft/1000 + 1 {
		if _, err := s.Append(t.Context(), b, nil); err != nil {
			t.Fatal(err)
		}
		for i := range b.Items {
			b.Items[i].Event = &relay.Event{Type: "a"}
		}
	}
	policy := relay.TrimPolicy{DeliveredBefore: time.Now().Add(time.Hour), FailedBefore: time.Now().Add(time.Hour)}
	walk := func() (steps, events int) {
		t.Helper()
		for more := true; more; steps++ {
			step, err := s.Trim(t.Context(), policy)
			if err != nil {
				t.Fatal(err)
			}
			events += step.Events
			more = step.More
		}
		return steps, events
	}
	if steps, events := walk(); steps < manyLeft/trimEvents || events != 0 {
		t.Fatalf("the first walk took %d steps and %d events", steps, events)
	}
	if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "held", Low: 1 << 20}}}); err != nil {
		t.Fatal(err)
	}
	if steps, events := walk(); steps != 1 || events != 0 {
		t.Fatalf("the second walk took %d steps and %d events; want it to rest", steps, events)
	}
	s.trim.rest = time.Time{}
	if _, events := walk(); events != (manyLeft/1000+1)*1000 {
		t.Fatalf("after the rest %d events went", events)
	}
}

// TestWalksBeginWhereSomethingIsLeft: what was removed before is not read through again, as it would
// be until VACUUM has cleared it away; and what is left before the end of a walk is found by the next.
func TestWalksBeginWhereSomethingIsLeft(t *testing.T) {
	const n, failed = 1200, 400
	s := openWith(t, options(t))
	var b relay.Batch
	for range n {
		b.Items = append(b.Items, relay.Item{Event: &relay.Event{Type: "a"}, Targets: storagetest.Targets("crm")})
	}
	receipts, err := s.Append(t.Context(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	left := []relay.Exception{{From: failed, To: failed, Kind: relay.Failed}}
	if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: n}, Put: left}}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	walk := func(failedBefore time.Time) (events int) {
		t.Helper()
		for more := true; more; {
			step, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: now.Add(time.Hour), FailedBefore: failedBefore})
			if err != nil {
				t.Fatal(err)
			}
			events += step.Events
			more = step.More
		}
		return events
	}
	seqOf := func(i int) relay.Seq {
		t.Helper()
		seq, err := s.Find(t.Context(), receipts[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	kept, last := seqOf(failed-1), seqOf(n-1)
	if events := walk(now.Add(-time.Hour)); events != n-1 || s.trim.floor != kept {
		t.Errorf("%d events went, the next walk begins at %d; want %d and %d", events, s.trim.floor, n-1, kept)
	}
	if events := walk(now.Add(-time.Hour)); events != 0 || s.trim.floor != kept {
		t.Errorf("%d events went, the next walk begins at %d; want none and %d", events, s.trim.floor, kept)
	}
	if events := walk(now.Add(time.Hour)); events != 1 || s.trim.floor <= kept || s.trim.floor > last+1 {
		t.Errorf("%d events went, the next walk begins at %d; want 1, and between %d and %d", events, s.trim.floor, kept, last+1)
	}
	mustAppend(t, s, one("1", "crm"))
	if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: n + 1}}}); err != nil {
		t.Fatal(err)
	}
	if events := walk(now.Add(time.Hour)); events != 1 {
		t.Errorf("%d new events went, want 1", events)
	}
}

// Idempotency keys that are old are trimmed also where several relays take turns, and nothing else
// is trimmed with them.
func TestOldKeysAreTrimmedBesideOthers(t *testing.T) {
	for _, several := range []bool{false, true} {
		clock := storagetest.NewClock(storagetest.Start)
		o := options(t)
		o.Shared, o.Clock = true, clock.Now
		s := openWith(t, o)
		if several {
			openWith(t, o)
			awaitLook(t, s)
		}
		mustAppend(t, s, keyed("1", "daily", "crm"))
		for range 3 { // days; retention: idempotency_keys 24h, delivered 7d
			clock.Advance(24 * time.Hour)
			now := clock.Now()
			p := relay.TrimPolicy{DeliveredBefore: now.Add(-7 * 24 * time.Hour), FailedBefore: now.Add(-30 * 24 * time.Hour), KeysBefore: now.Add(-24 * time.Hour)}
			if _, err := s.Trim(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		all, err := s.Append(t.Context(), keyed("1", "daily", "crm"), nil)
		if err != nil || all[0].Duplicate {
			t.Errorf("several %v: three days later the same key is answered %+v, %v", several, all, err)
		}
	}
}

// Days are made and dropped by whichever relay leads: the next one knows of those of others.
func TestNextLeaderDropsTheDaysOfOthers(t *testing.T) {
	const day = 24 * time.Hour
	clock := storagetest.NewClock(storagetest.Start)
	o := options(t)
	o.Shared, o.Clock = true, clock.Now
	first := openWith(t, o)
	for range 3 { // 1, 2 and 3 March
		mustAppend(t, first, one("1", "crm"))
		clock.Advance(day)
	}
	second := openWith(t, o) // knows these days
	mustAppend(t, first, one("1", "crm"))
	finish := func(s *Store, low uint64) {
		t.Helper()
		if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: low}}}); err != nil {
			t.Fatal(err)
		}
	}
	trim := func(s *Store) {
		t.Helper()
		at := clock.Now().Add(-time.Hour)
		for range 6 {
			if _, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: at, FailedBefore: at, KeysBefore: at}); err != nil {
				t.Fatal(err)
			}
		}
	}
	finish(first, 4)
	trim(first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	awaitLook(t, second)
	eventually(t, "the second one leads", second.leads)
	low := uint64(4)
	for range 5 { // 5 to 9 March
		clock.Advance(day)
		mustAppend(t, second, one("1", "crm"))
		low++
	}
	finish(second, low)
	clock.Advance(day)
	mustAppend(t, second, one("1", "crm")) // today, which stays
	trim(second)
	if got, want := partitionsOf(t, o), "attempts_20260310 events_20260310"; got != want {
		t.Errorf("left are: %s\nwant %s", got, want)
	}
}

// A late attempt of a day that another relay has dropped makes room for itself.
func TestLateAttemptOfADayThatAnotherHasDropped(t *testing.T) {
	clock := storagetest.NewClock(storagetest.Start)
	o := options(t)
	o.Shared, o.Clock = true, clock.Now
	first := openWith(t, o)
	mustAppend(t, first, one("1", "crm"))
	second := openWith(t, o) // knows the day
	late := []relay.Update{{
		Progress: relay.Progress{Subscription: "crm", Low: 2}, Attempts: []relay.AttemptRecord{{Seq: relay.SeqAt(storagetest.Start), Attempt: relay.Attempt{Number: 1}}},
	}}
	clock.Advance(48 * time.Hour)
	mustAppend(t, first, one("1", "crm"))
	if err := first.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 2}}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is empty is dropped by the walk after the one that emptied it
		at := clock.Now().Add(-time.Hour)
		if _, err := first.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: at, FailedBefore: at}); err != nil {
			t.Fatal(err)
		}
	}
	if got := partitionsOf(t, o); strings.Contains(got, "20260301") {
		t.Fatalf("partitions: %s", got)
	}
	if err := second.Commit(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	if got := partitionsOf(t, o); !strings.Contains(got, "attempts_20260301") {
		t.Errorf("partitions: %s", got)
	}
	mustAppend(t, second, one("1", "crm"))
}
