package postgres

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/shard"
)

// Options are those of a store.
type Options struct {
	// DSN says where the database is: a URL or a list of words, as libpq has them.
	DSN string
	// Schema is the one that the tables lie in; it is made if it is not there. Default:
	// [DefaultSchema].
	Schema string
	// Shared says that the user is going to call [Store.Join]: others that say so, too, may
	// use the schema at the same time. Without it the schema is for this user alone.
	Shared bool
	// Shards is into how many parts the subscriptions of a region are divided among the
	// relays. It is fixed when the schema is made. Default: [shard.Default].
	Shards int
	// MaxConns is the largest number of connections, at least [LeastConns]. Default:
	// [DefaultConns].
	MaxConns int
	// Logger gets what opening and mending have to say. Default: none.
	Logger *zap.Logger
	// Clock is where acceptance times come from. Default: time.Now.
	Clock func() time.Time
	// Owner names this relay to others, and to operators; what makes it unique is added.
	// Default: host and process.
	Owner string

	// times are shorter in tests.
	times times
}

const (
	// DefaultSchema is the schema if none is named.
	DefaultSchema = "caddyrelay"
	// LeastConns is the least number of connections: one that writes, and one that reads. A
	// third one hears what other relays do, which is otherwise asked for now and then.
	LeastConns = 2
	// DefaultConns is the largest number of connections if none is given.
	DefaultConns = 8
)

// times bound what happens with the database. The lease is the longest of them: whoever
// does not get an answer knows that before others may take over.
type times struct {
	// lease is how long others leave alone what was not renewed; renew how often it is
	// renewed at least; vanished how long what was not renewed is left alone if the
	// connection that held it is gone.
	lease, renew, vanished time.Duration
	// patience is how long a subscription is left to the relay that should have it.
	patience time.Duration
	// commit bounds a group, read everything that reads, connect a new connection.
	commit, read, connect time.Duration
	// mendFirst and mendMost are the shortest and longest pause before connecting anew.
	mendFirst, mendMost time.Duration
}

var defaultTimes = times{
	lease: 10 * time.Second, renew: time.Second, vanished: 4 * time.Second, patience: 3 * time.Second,
	commit: 6 * time.Second, read: 15 * time.Second, connect: 5 * time.Second,
	mendFirst: 250 * time.Millisecond, mendMost: 2 * time.Second,
}

// look is how often a relay looks at what the others do.
func (t *times) look() time.Duration { return t.renew / 2 }

// drop bounds each statement of dropping a partition.
func (t *times) drop() time.Duration { return t.commit / 6 }

// carried is for how long after it has renewed its lease a relay may begin attempts. Others
// take over no earlier than after the shorter of both times, and clocks may differ in speed.
func (t *times) carried() time.Duration { return min(t.lease, t.vanished) * 3 / 4 }

func (o *Options) setDefaults() {
	if o.Schema == "" {
		o.Schema = DefaultSchema
	}
	if o.Shards == 0 {
		o.Shards = shard.Default
	}
	if o.MaxConns == 0 {
		o.MaxConns = DefaultConns
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Owner == "" {
		o.Owner = defaultOwner()
	}
	if o.times == (times{}) {
		o.times = defaultTimes
	}
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// CheckSchema says why a name cannot be that of a schema, or returns nil.
func CheckSchema(name string) error {
	switch {
	case !schemaName.MatchString(name):
		return fmt.Errorf("%q is no name of a schema here: write lower-case letters, digits and underscores, e.g. %s", name, DefaultSchema)
	case strings.HasPrefix(name, "pg_") || name == "information_schema":
		return fmt.Errorf("the schema %q is PostgreSQL's own; write another name, e.g. %s", name, DefaultSchema)
	}
	return nil
}

// CheckMaxConns says why a store cannot do with n connections, or returns nil.
func CheckMaxConns(n int) error {
	if n < LeastConns || n > 1000 {
		return fmt.Errorf("%d connections are not possible: write %d to 1000, e.g. %d", n, LeastConns, DefaultConns)
	}
	return nil
}
