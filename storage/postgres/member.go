package postgres

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A relay that uses a schema is one of its members: a row with a lease, by the server's
// clock. Each time at which members come or go has its number, the epoch in the row of tail.
// A member that is alone writes under the epoch that it knows, without asking; when another
// one has come, that fails, and from then on it looks at what the others have written first,
// under the lock of the row. So does a member that was frozen, or cut off, for so long that
// the others have taken its row away: it finds that it is no member any more.

// member is a relay that uses the schema.
type member struct {
	number        int32
	id            string
	alone, offers bool
	regions       []string
	seen          time.Time
	// dead says that its lease has ended.
	dead bool
}

// serves reports whether a member makes deliveries of a region.
func (m *member) serves(region string) bool {
	return m.offers && !m.dead && (region == "" || slices.Contains(m.regions, region))
}

const (
	// A lease has ended after its time, or earlier if the connection of its member is gone.
	selectMembers = `select number, id, alone, offers, regions, seen,
		until < clock_timestamp() or clock_timestamp() - seen >= $1::interval and
			not exists (select 1 from pg_stat_activity a where a.pid = m.backend and (a.backend_start is null or a.backend_start = m.connected))
		from members m order by number`
	insertMember = `insert into members (number, id, alone, backend, connected, seen, until)
		select $1, $2, $3, pg_backend_pid(), (select backend_start from pg_stat_activity where pid = pg_backend_pid()),
			clock_timestamp(), clock_timestamp() + $4::interval`
	// returnMember is for a member with a new connection.
	returnMember = `update members set backend = pg_backend_pid(), connected = (select backend_start from pg_stat_activity where pid = pg_backend_pid()),
		seen = clock_timestamp(), until = clock_timestamp() + $2::interval where number = $1`
	renewMember   = `update members set seen = clock_timestamp(), until = clock_timestamp() + $2::interval where number = $1`
	deleteMembers = `delete from members where number = any($1)`
	offerMember   = `update members set offers = $2, regions = $3 where number = $1`
)

// scanMembers reads what selectMembers selects.
func scanMembers(rows pgx.Rows) (all []member, err error) {
	var m member
	_, err = pgx.ForEachRow(rows, []any{&m.number, &m.id, &m.alone, &m.offers, &m.regions, &m.seen, &m.dead}, func() error {
		all = append(all, m)
		m.regions = nil
		return nil
	})
	return all, err
}

func readMembers(ctx context.Context, conn *pgx.Conn, t *times) ([]member, error) {
	rows, err := conn.Query(ctx, selectMembers, t.vanished)
	if err != nil {
		return nil, err
	}
	return scanMembers(rows)
}

// place is where a committer stands among the members. It is the committer's alone.
type place struct {
	me int32
	// members are all that have a row.
	members []member
	// epoch is that of these members, or unknownEpoch. solo says that there is no other one,
	// so that what is in memory is what is in the database.
	epoch int64
	solo  bool
	// seen is the number of the last change of subscriptions that is in memory.
	seen int64
	// renewed is when the lease was last renewed, looked when the last look at the others was.
	renewed, looked time.Time
	// returned is when the connection was made anew, zero if it is the first one.
	returned time.Time
	// free says since when nobody carries a subscription, and sharing who should.
	free    map[string]time.Time
	sharing sharing
	// news are subscriptions of which the engine is to be told, and asked when it was last
	// asked to give some back.
	news  []*sub
	asked time.Time
}

// unknownEpoch is one that there never is.
const unknownEpoch = -1

// self returns this member, or nil if it is none any more.
func (p *place) self() *member { return p.member(p.me) }

func (p *place) member(number int32) *member {
	for i := range p.members {
		if p.members[i].number == number {
			return &p.members[i]
		}
	}
	return nil
}

// alive reports whether the number is that of a member whose lease lasts.
func (p *place) alive(number int32) bool {
	m := p.member(number)
	return m != nil && !m.dead
}

// settle finds out whether there is nobody else.
func (p *place) settle() {
	p.solo = p.epoch != unknownEpoch && len(p.members) == 1 && p.members[0].number == p.me
}

func (c *committer) loadMembers(ctx context.Context) error {
	members, err := readMembers(ctx, c.conn, &c.s.times)
	if err != nil {
		return fmt.Errorf("reading the members: %w", err)
	}
	c.place.members = members
	c.s.setMembers(members)
	return nil
}

// defaultOwner tells operators which process this is.
func defaultOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

// newID makes a name that no other relay ever had.
func newID(owner string) string {
	var random [5]byte
	_, _ = rand.Read(random[:])
	return owner + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
}
