package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

const (
	insertQuestion = `insert into requests (id, member, subscription, body) values ($1, $2, $3, $4)`
	// takeAnswer returns an answer, if there is one, and who answers.
	takeAnswer = `select answer, taken from requests where id = $1`
	// withdraw takes back a question that nobody answers yet.
	withdraw    = `delete from requests where id = $1 and taken = 0`
	dropAnswers = `delete from requests where id = $1 or asked < clock_timestamp() - interval '5 minutes'`
	// selectQuestions are those that this member may have to answer.
	selectQuestions = `select id, member, subscription from requests where taken = 0 and (member = $1 or member = '')`
	takeQuestions   = `update requests set taken = $2 where id = any($1) and taken = 0 returning id, body`
	putAnswer       = `update requests set answer = $2 where id = $1`
)

const (
	// answerPause is how long is waited before an answer, or a question, is looked for that
	// nobody has hinted at.
	answerPause = 250 * time.Millisecond
	// answerTime bounds an answer.
	answerTime = time.Minute
)

// Ask implements [relay.Shared].
func (s *Store) Ask(ctx context.Context, to relay.Addressee, request []byte) ([]byte, error) {
	if !s.gate.Enter() {
		return nil, relay.ErrClosed
	}
	defer s.gate.Leave()
	m := s.engine()
	if m == nil {
		return nil, errors.New("asking another relay: this one has not joined")
	}
	if to.Member == s.id || to.Member == "" && s.carries(to.Subscription) {
		return m.Answer(ctx, request), nil
	}
	id := rand.Text()
	request = append([]byte{}, request...) // nil would be no question
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(insertQuestion, id, to.Member, column(to.Subscription), request)
		b.Queue(notify, s.channel(), s.payload(hintQuestion))
		return conn.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return nil, err
	}
	defer s.dropQuestion(id)
	answer, err := s.awaitAnswer(ctx, id, to)
	if errors.Is(err, errOurs) {
		return m.Answer(ctx, request), nil
	}
	return answer, err
}

// errOurs means that this member carries by now what it has asked another one about.
var errOurs = errors.New("the question is this relay's own to answer")

// awaitAnswer waits as long as there is somebody who may answer.
func (s *Store) awaitAnswer(ctx context.Context, id string, to relay.Addressee) (answer []byte, err error) {
	missing := time.Time{}
	for {
		heard := s.nextAnswer()
		var taken int32
		err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, takeAnswer, id).Scan(&answer, &taken)
		})
		switch {
		case errors.Is(err, pgx.ErrNoRows): // the server has crashed, and the table is empty
			return nil, relay.ErrNoAnswer
		case err != nil:
			return nil, err
		case answer != nil:
			return answer, nil
		}
		if taken == 0 && to.Member == "" && s.carries(to.Subscription) && s.withdraw(ctx, id) {
			return nil, errOurs
		}
		// Somebody else may take over, which takes a moment.
		switch {
		case s.reachable(to, taken):
			missing = time.Time{}
		case missing.IsZero():
			missing = time.Now()
		case time.Since(missing) > s.times.patience || taken != 0:
			return nil, relay.ErrNoAnswer
		}
		select {
		case <-heard:
		case <-time.After(answerPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.lifetime.Done():
			return nil, relay.ErrClosed
		}
	}
}

// withdraw takes back a question, and reports whether nobody answers it.
func (s *Store) withdraw(ctx context.Context, id string) bool {
	withdrawn := false
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, withdraw, id)
		withdrawn = err == nil && tag.RowsAffected() == 1
		return err
	})
	if err != nil {
		s.log.Debug("a question could not be withdrawn", zap.Error(err))
	}
	return withdrawn
}

// reachable reports whether there is somebody who will answer.
func (s *Store) reachable(to relay.Addressee, taken int32) bool {
	if taken == 0 && to.Member == "" {
		return s.Carrier(to.Subscription) != ""
	}
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return slices.ContainsFunc(s.members, func(m member) bool {
		return !m.dead && (m.number == taken || taken == 0 && m.id == to.Member)
	})
}

func (s *Store) dropQuestion(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.times.commit)
	defer cancel()
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, dropAnswers, id)
		return err
	})
	if err != nil {
		s.log.Debug("a question stays in the database for some minutes", zap.Error(err))
	}
}

// answerAll answers what other members ask, until Close.
func (s *Store) answerAll() {
	ctx := s.lifetime
	ticker := time.NewTicker(2 * answerPause)
	defer ticker.Stop()
	for {
		select {
		case <-s.mail:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if !s.others() {
			continue // there is nobody who asks
		}
		if err := s.takeQuestions(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("questions of other relays could not be read", zap.Error(err))
		}
	}
}

// takeQuestions answers the questions that wait for this member, each in a goroutine.
func (s *Store) takeQuestions(ctx context.Context) error {
	return s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectQuestions, s.id)
		if err != nil {
			return err
		}
		var mine []string
		var id, member, subscription string
		_, err = pgx.ForEachRow(rows, []any{&id, &member, &subscription}, func() error {
			if member != "" || s.carries(subscription) {
				mine = append(mine, id)
			}
			return nil
		})
		if err != nil || len(mine) == 0 {
			return err
		}
		if rows, err = conn.Query(ctx, takeQuestions, mine, s.number()); err != nil {
			return err
		}
		var body []byte
		_, err = pgx.ForEachRow(rows, []any{&id, &body}, func() error {
			id, body := id, slices.Clone(body)
			s.background.Go(func() { s.reply(id, body) })
			return nil
		})
		return err
	})
}

// reply answers one question.
func (s *Store) reply(id string, body []byte) {
	ctx, cancel := context.WithTimeout(s.lifetime, answerTime)
	defer cancel()
	answer := s.engine().Answer(ctx, body)
	if answer == nil {
		answer = []byte{}
	}
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(putAnswer, id, answer)
		b.Queue(notify, s.channel(), s.payload(hintAnswer))
		return conn.SendBatch(ctx, b).Close()
	})
	if err != nil {
		s.log.Warn("another relay does not get its answer", zap.Error(fmt.Errorf("answering: %w", err)))
	}
}

// carries reports whether the engine was told to carry a subscription.
func (s *Store) carries(subscription string) bool {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.told[subscription]
}

func (s *Store) nextAnswer() <-chan struct{} {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.heard
}

func (s *Store) payload(kind string) string { return strconv.Itoa(int(s.number())) + " " + kind }
