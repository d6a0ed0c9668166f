package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Target is what a DSN says, without its password.
type Target struct {
	// Location is the database for people: hosts and name, no user and no password.
	Location string
	// Key is the same for all ways to write one database.
	Key string
	// Password says that the DSN itself holds one.
	Password bool
	// Plain are the hosts, other than those of this machine, that may be spoken to without
	// TLS.
	Plain []string
}

// ParseDSN reads a DSN, and files and variables of the environment that libpq would read,
// too. No error of it holds any of the DSN, which may be wrong in a way that makes a
// password look like something else.
func ParseDSN(dsn string) (Target, error) {
	config, err := parse(dsn)
	if err != nil {
		return Target{}, err
	}
	var hosts []string
	t := Target{Password: config.Password != "" && strings.Contains(dsn, "password=") || hasUserPassword(dsn)}
	for _, h := range endpoints(config) {
		hosts = append(hosts, h.name())
		if h.plain && !h.local() && !slices.Contains(t.Plain, h.host) {
			t.Plain = append(t.Plain, h.host)
		}
	}
	t.Location = strings.Join(slices.Compact(hosts), ",") + "/" + config.Database
	slices.Sort(hosts)
	t.Key = "postgres " + strings.Join(slices.Compact(hosts), ",") + "/" + config.Database
	return t, nil
}

// hasUserPassword reports whether a URL has a password before its host.
func hasUserPassword(dsn string) bool {
	u, err := url.Parse(dsn)
	if err != nil {
		return false
	}
	password, _ := u.User.Password()
	return password != ""
}

func parse(dsn string) (*pgx.ConnConfig, error) {
	if dsn == "" {
		return nil, errors.New("the DSN is empty")
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("the DSN cannot be read; write it as a URL, e.g. postgres://relay:{env.PGPASSWORD}@db.example.com/relay?sslmode=verify-full, with special characters of the password percent-encoded")
	}
	if config.Database == "" {
		config.Database = config.User // as libpq does
	}
	return config, nil
}

// endpoint is one of the servers that a DSN names.
type endpoint struct {
	host  string
	port  uint16
	plain bool
}

// endpoints lists the servers. One that is tried with TLS and then without stands twice.
func endpoints(config *pgx.ConnConfig) []endpoint {
	all := []endpoint{{config.Host, config.Port, config.TLSConfig == nil}}
	for _, f := range config.Fallbacks {
		all = append(all, endpoint{f.Host, f.Port, f.TLSConfig == nil})
	}
	return all
}

func (e endpoint) name() string {
	if strings.HasPrefix(e.host, "/") {
		return e.host + "/.s.PGSQL." + strconv.Itoa(int(e.port))
	}
	return net.JoinHostPort(e.host, strconv.Itoa(int(e.port)))
}

// local reports whether a server is reached without a network.
func (e endpoint) local() bool {
	if strings.HasPrefix(e.host, "/") || e.host == "localhost" {
		return true
	}
	ip := net.ParseIP(e.host)
	return ip != nil && ip.IsLoopback()
}

// connConfig is how connections are made: bounded in all they do, with the tables of the
// schema before all others.
func (o *Options) connConfig() (*pgx.ConnConfig, error) {
	config, err := parse(o.DSN)
	if err != nil {
		return nil, err
	}
	config.ConnectTimeout = o.times.connect
	// Of several servers one takes writes.
	if hosts := endpoints(config); slices.ContainsFunc(hosts, func(h endpoint) bool { return h.name() != hosts[0].name() }) && config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	set := func(name, value string) { config.RuntimeParams[name] = value }
	set("search_path", o.Schema)
	set("timezone", "UTC")
	set("client_encoding", "UTF8")
	// What an operator has set for the role or the database: another isolation would end each
	// transaction that waited for its turn, and without warnings nobody hears of a commit that no
	// standby has.
	set("default_transaction_isolation", "read committed")
	set("client_min_messages", "warning")
	set("lock_timeout", milliseconds(o.times.commit/3))
	set("idle_in_transaction_session_timeout", milliseconds(o.times.commit))
	// No question here is worth compiling, which may take a second on a busy server: it would
	// be done for those that have to read a small table from end to end.
	set("jit", "off")
	if config.RuntimeParams["application_name"] == "" {
		set("application_name", "caddy-relay")
	}
	config.AfterConnect = endureIdling
	return config, nil
}

// endureIdling takes limits off a new connection that an operator may have set for the role
// and that older servers do not know, so that they cannot be asked for when it is made:
// connections that hear notifications or wait for readers are idle for long.
func endureIdling(ctx context.Context, conn *pgconn.PgConn) error {
	err := conn.Exec(ctx, `select set_config(name, '0', false) from pg_settings
		where name in ('idle_session_timeout', 'transaction_timeout') and setting <> '0'`).Close()
	if err != nil {
		return fmt.Errorf("setting up the connection: %w", err)
	}
	return nil
}

// writerConfig is that of the connection that writes.
func (o *Options) writerConfig() (*pgx.ConnConfig, error) {
	config, err := o.connConfig()
	if err == nil {
		config.RuntimeParams["statement_timeout"] = milliseconds(o.times.commit)
	}
	return config, err
}

// poolConfig is that of the connections that read. What they look for they find by an
// index: PostgreSQL is told not to prefer other ways, as it may where a partition is new
// and it knows nothing of it yet.
func (o *Options) poolConfig() (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(o.DSN)
	if err != nil {
		return nil, errors.New("the DSN cannot be read")
	}
	conn, err := o.connConfig()
	if err != nil {
		return nil, err
	}
	conn.RuntimeParams["statement_timeout"] = milliseconds(o.times.read)
	for _, way := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin"} {
		conn.RuntimeParams[way] = "off"
	}
	config.ConnConfig = conn
	config.MaxConns = int32(o.MaxConns - 1)
	if o.listens() {
		config.MaxConns--
	}
	config.MinConns = 0
	config.MaxConnIdleTime = 5 * time.Minute
	return config, nil
}

// listens reports whether there is a connection to spare for notifications.
func (o *Options) listens() bool { return o.Shared && o.MaxConns > LeastConns }

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// quoted is the schema as SQL has it.
func (o *Options) quoted() string { return pgx.Identifier{o.Schema}.Sanitize() }

// explainConnect says what can be done about a failed connection. The errors of pgx hold
// host, user and database, and no password.
func explainConnect(err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return fmt.Errorf("connecting: %w", err)
	}
	hint := ""
	switch server.Code {
	case "28P01", "28000":
		hint = "; check user and password of the DSN, and pg_hba.conf of the server"
	case "3D000":
		hint = "; make the database: CREATE DATABASE relay OWNER relay"
	case "53300":
		hint = "; raise max_connections of the server, or lower max_conns here"
	}
	return fmt.Errorf("connecting: %w%s", err, hint)
}
