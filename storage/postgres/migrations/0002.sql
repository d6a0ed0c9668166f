-- Several relays use a schema at the same time: its members.
alter table store
	-- Into how many parts the subscriptions of a region are divided among them.
	add column shards integer not null default 16 check (shards between 1 and 1024);

create table members (
	-- Given out one after the other, and never twice.
	number integer primary key,
	-- What operators and other members call it: it stays when the number changes.
	id text not null,
	-- Nobody else may use the schema.
	alone boolean not null,
	-- Whether it carries subscriptions, and of which regions.
	offers boolean not null default false,
	regions text[] not null default '{}',
	-- The connection that it writes by.
	backend integer not null,
	connected timestamptz,
	-- Its lease.
	seen timestamptz not null,
	until timestamptz not null
) with (fillfactor = 50);

-- Who may write says the epoch: it grows when a member comes or goes. One that is alone writes
-- under the epoch that it knows; with others, each looks at it under the lock of the row.
alter table tail
	drop column owner,
	drop column backend,
	drop column connected,
	drop column renewed,
	drop column until,
	-- The number of the last member, and of the last change of subscriptions.
	add column members integer not null default 0,
	add column rev bigint not null default 0;
update tail set epoch = epoch + 1;

alter table subscriptions
	-- The member that makes the deliveries, 0: none. The epoch grows whenever that changes.
	add column owner integer not null default 0,
	add column epoch bigint not null default 0,
	-- The member that would like to.
	add column wanted integer not null default 0,
	-- Whoever makes the deliveries has it no more in its configuration.
	add column spare boolean not null default false,
	-- Of the last change, as far as several members made changes.
	add column rev bigint not null default 0;
create index subscriptions_rev on subscriptions (rev);

-- What one member asks another one. A crash may take it away: whoever asked asks again.
create unlogged table requests (
	id text primary key,
	-- The ID of a member or, where that is empty, whoever carries the subscription.
	member text not null,
	subscription text not null,
	body bytea not null,
	-- The member that answers.
	taken integer not null default 0,
	answer bytea,
	asked timestamptz not null default clock_timestamp()
);
