package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// first makes the schema as version 1 had it, with an event and what is known of it.
func first(t *testing.T, o Options, lease string) {
	t.Helper()
	partitions, d := "", dayOf(1801234567890<<20)
	for _, table := range []string{"events", "attempts"} {
		partitions += fmt.Sprintf("create table %s partition of %s for values from (%d) to (%d);", d.partition(table), table, d.first(), (d + 1).first())
	}
	sql := fmt.Sprintf(`set client_min_messages = warning; create schema %s; set search_path = %[1]s;
		create table migrations (version integer primary key, applied timestamptz not null default now());
		insert into migrations (version) values (0), (1);`, o.Schema) + migrations[0] + `
		insert into store (application, id, tag) values ('caddyrelay', decode(repeat('ab', 16), 'hex'), 43947);
		update tail set last = 1801234567890::bigint << 20, ordinal = 1, live = 302, epoch = 5` + lease + `;
		insert into subscriptions (id, name, head, progress) values (1, 'crm', 1, '{"open":1,"low":1,"paused":true}'), (2, 'cdn', 0, '{}');
		` + partitions + `
		insert into events (seq, ordinal, type, size, subscriptions, positions, attributes, data)
			values (1801234567890::bigint << 20, 1, 'order.paid', 2, '{1}', '{1}', '{"content_type":"application/json"}', '{}');
		insert into log values (1, 1, 1801234567890::bigint << 20, 2);
		insert into exceptions values (1, false, 1, 1, true, '{"kind":1,"seq":1888731338259824640,"attempts":2}');
		insert into notes values ('egress', 'kept');`
	postgrestest.Shared(t).Query(t, "postgres", sql)
}

// TestSchemaOfTheFirstVersion: all that it holds is there afterwards, and several relays can
// use it.
func TestSchemaOfTheFirstVersion(t *testing.T) {
	o := options(t)
	first(t, o, ", owner = 'process 1 on alpha', backend = 1, connected = now(), until = now() + interval '1 minute'") // it has died
	o.Shared = true
	s, beside := openWith(t, o), openWith(t, o)
	for p, err := range s.Progress(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Subscription == "crm" && (p.Head != 1 || p.Low != 1 || p.Open != 1 || !p.Paused || p.Epoch != 0) {
			t.Errorf("%+v", p)
		}
	}
	seq := relay.Seq(1801234567890 << 20)
	e, err := beside.Event(t.Context(), seq)
	if err != nil || e.Type != "order.paid" || string(e.Data) != "{}" || len(e.Deliveries) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	if x, ok, err := s.Exception(t.Context(), "crm", 1); err != nil || !ok || x.Attempts != 2 {
		t.Errorf("%+v, %v, %v", x, ok, err)
	}
	if note, err := s.Note(t.Context(), "egress"); err != nil || string(note) != "kept" {
		t.Errorf("%q, %v", note, err)
	}
	mustAppend(t, s, one("1", "crm"))
	mustAppend(t, beside, one("2", "crm", "new"))
	checkLog(t, s, "crm", 3)
}

// TestRelayOfTheFirstVersionIsNotCutOff: one that runs has the schema for itself.
func TestRelayOfTheFirstVersionIsNotCutOff(t *testing.T) {
	o := options(t)
	server := postgrestest.Shared(t)
	first(t, o, "")
	held := openWith(t, options(t)) // any connection that lives
	var backend int32
	if err := held.pool.Load().QueryRow(t.Context(), "select backend from members").Scan(&backend); err != nil {
		t.Fatal(err)
	}
	server.Query(t, "postgres", fmt.Sprintf(`update %s.tail set owner = 'process 1 on alpha', backend = %d,
		connected = (select backend_start from pg_stat_activity where pid = %[2]d), until = now() + interval '1 minute'`, o.Schema, backend))
	o.Shared = true
	_, err := Open(o)
	if _, ok := errors.AsType[*InUseError](err); !ok || !strings.Contains(err.Error(), "process 1 on alpha") || !strings.Contains(err.Error(), "earlier version") {
		t.Fatalf("Open: %v", err)
	}
	if got := server.Query(t, "postgres", "select max(version) from "+o.Schema+".migrations"); got != "1" {
		t.Errorf("the schema has version %s now", got)
	}
	server.Query(t, "postgres", fmt.Sprintf("update %s.tail set until = now() - interval '1 second'", o.Schema))
	mustAppend(t, openWith(t, o), one("1", "crm"))
}

// TestShardsAreFixed when the schema is made, and can be changed while nobody uses it.
func TestShardsAreFixed(t *testing.T) {
	o := options(t)
	o.Shards = 8
	if err := openWith(t, o).Close(); err != nil {
		t.Fatal(err)
	}
	o.Shards = 0
	text := refused(t, o, ErrOtherShards, "8, and not 16", "write shards 8", "stop all relays")
	_, sql, found := strings.Cut(text, "run: ")
	if !found {
		t.Fatal(text)
	}
	postgrestest.Shared(t).Query(t, "postgres", sql)
	if s := openWith(t, o); s.Shards() != 16 {
		t.Errorf("%d shards", s.Shards())
	}
}
