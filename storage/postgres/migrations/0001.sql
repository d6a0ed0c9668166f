-- Whose schema this is. One row.
create table store (
	one boolean primary key default true check (one),
	application text not null,
	id bytea not null,
	-- The store's part of its events' IDs.
	tag integer not null,
	created timestamptz not null default now()
);

-- Where the log ends, and who may write. One row, which each group of writes updates: it is
-- the lock under which numbers are given out. A writer that knows another epoch than the
-- present one violates the constraint "fenced".
create table tail (
	one boolean primary key default true check (one),
	-- The last position, and how many events there ever were.
	last bigint not null default 0,
	ordinal bigint not null default 0,
	-- What events take, in bytes.
	live bigint not null default 0,
	epoch bigint not null default 0 constraint fenced check (epoch >= 0),
	owner text not null default '',
	-- The connection that the owner writes by.
	backend integer not null default 0,
	connected timestamptz,
	renewed timestamptz,
	until timestamptz
) with (fillfactor = 10);
insert into tail default values;

create table subscriptions (
	id integer primary key,
	name text not null unique,
	head bigint not null default 0,
	progress json not null
) with (fillfactor = 50);

-- Positions hold the time of acceptance: (seq >> 20) is in milliseconds since 1970.
create table events (
	seq bigint primary key,
	ordinal bigint not null,
	type text not null,
	size integer not null,
	-- The subscriptions that it matched, its positions in their logs, and its ordering keys there.
	subscriptions integer[] not null,
	positions bigint[] not null,
	order_keys json,
	attributes json not null,
	erased timestamptz,
	data bytea
) partition by range (seq);
-- Compressing costs more than it saves.
alter table events alter column data set storage external;

create table log (
	subscription integer not null,
	pos bigint not null,
	seq bigint not null,
	size integer not null,
	primary key (subscription, pos)
);

-- A position has at most one exception, and a replay beside it.
create table exceptions (
	subscription integer not null,
	replay boolean not null,
	first bigint not null,
	last bigint not null,
	open boolean not null,
	record json not null,
	primary key (subscription, replay, first)
);
create index exceptions_open on exceptions (subscription, first) where open;
create index exceptions_spans on exceptions (subscription, first) where last > first;

create table attempts (
	seq bigint not null,
	subscription integer not null,
	number integer not null,
	record json not null,
	excerpt bytea,
	primary key (seq, subscription, number)
) partition by range (seq);

-- Keys are known by a digest. They are stored at a position, as events are.
create table keys (
	stored bigint not null,
	hash bytea not null,
	sum bytea not null,
	receipts json not null,
	primary key (stored, hash)
) partition by range (stored);
create index keys_hash on keys (hash);

-- Events that another store accepted, by the IDs that they have from there.
create table moved (
	id text primary key,
	seq bigint not null
);

create table notes (
	name text primary key,
	value bytea not null
);
