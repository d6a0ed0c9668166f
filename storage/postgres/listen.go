package postgres

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// What a notification is about. It is a hint: whoever does not get it comes to the same a
// little later by itself.
const (
	hintLook     = "l" // something was appended, or somebody carries other subscriptions
	hintQuestion = "q"
	hintAnswer   = "a"
)

// channel is the name that notifications have: of one store, since they go to all of a
// database.
func (s *Store) channel() string { return "caddyrelay_" + hex.EncodeToString(s.identity.id[:]) }

// listen hears what other members notify of, by a connection of its own, if there is one to spare.
func (s *Store) listen() {
	ctx := s.lifetime
	for delay := s.times.mendFirst; ctx.Err() == nil; delay = min(2*delay, 10*s.times.mendMost) {
		if o := s.current(); !o.listens() {
			select {
			case <-s.configured:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		err := s.hearUnchanged(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Debug("no notifications from the database; what others do is asked for", zap.Error(err))
		if time.Since(began) > time.Minute {
			delay = s.times.mendFirst
		}
		// What was missed meanwhile.
		nudge(s.hints)
		nudge(s.mail)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
}

// hearUnchanged hears until the connection fails, or others are to be made.
func (s *Store) hearUnchanged(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.configured:
			cancel()
		case <-ctx.Done():
		}
	}()
	return s.hear(ctx)
}

// hear handles notifications until the connection fails.
func (s *Store) hear(ctx context.Context) error {
	o := s.current()
	config, err := o.connConfig()
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return explainConnect(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{s.channel()}.Sanitize()); err != nil {
		return err
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		from, kind, _ := strings.Cut(n.Payload, " ")
		if number, err := strconv.ParseInt(from, 10, 32); err != nil || int32(number) == s.number() {
			continue
		}
		switch kind {
		case hintQuestion:
			nudge(s.mail)
		case hintAnswer:
			s.answered()
		default:
			nudge(s.hints)
		}
	}
}

func (s *Store) number() int32 {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.me
}

// answered wakes those who wait for answers.
func (s *Store) answered() {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	close(s.heard)
	s.heard = make(chan struct{})
}
