package badger

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Salvage is what became of a damaged store.
type Salvage struct {
	Damage *DamageError
	// Unread are the places that could not be read.
	Unread []Damage
	// Events is the number of events that are there.
	Events uint64
	// Lost is the number of events that are gone, as far as their numbers tell: more may be
	// counted than are, since what retention removed last cannot be told from them where
	// the record of it is gone too.
	Lost uint64
	// Gaps are the numbers that are missing among the newer events.
	Gaps []Gap
	// Deliveries are those of events that are gone, of which something is known. They are
	// at most a million.
	Deliveries []LostDelivery
	// Unfinished counts deliveries that were not made and are failed now, with the reason
	// "quarantined"; Repeated those whose outcome is gone and that are made again.
	Unfinished, Repeated uint64
	// Names are the subscriptions whose names are gone, by the names that they got.
	Names []string
	// Unknown says where deliveries stood of which nothing else is known.
	Unknown []string
	// Findings are things that are still wrong, at most a hundred; Found is how many.
	Findings []string
	Found    int
}

func (s *Salvage) find(format string, args ...any) {
	if s.Found++; s.Found <= 100 {
		s.Findings = append(s.Findings, fmt.Sprintf(format, args...))
	}
}

// LostDelivery is a delivery whose event is gone.
type LostDelivery struct {
	// Event is its ID, Subscription the name.
	Event, Subscription string
	Accepted            time.Time
	// Finished says that it had been delivered, or given up.
	Finished bool
}

const mostLost = 1_000_000

// lostName is the file that lists what is gone.
const lostName = "LOST.txt"

// String says in a sentence what is gone.
func (s *Salvage) String() string {
	text := fmt.Sprintf("%d events are there", s.Events)
	if s.Lost > 0 {
		text += fmt.Sprintf(", up to %d are gone", s.Lost)
	} else {
		text += ", none is gone"
	}
	if s.Unfinished > 0 {
		text += fmt.Sprintf("; %d deliveries of them were not made", s.Unfinished)
	}
	if s.Repeated > 0 {
		text += fmt.Sprintf("; the outcomes of %d deliveries are gone, and they are made again", s.Repeated)
	}
	if len(s.Names) > 0 {
		text += fmt.Sprintf("; the names of %d subscriptions are gone: %s", len(s.Names), brief(s.Names))
	}
	return text
}

// write lists everything in a file for people.
func (s *Salvage) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, lostName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	s.print(w)
	return errors.Join(w.Flush(), file.Sync(), file.Close(), syncDirectory(dir))
}

func (s *Salvage) print(w *bufio.Writer) {
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("The store in %s was damaged. %s.", s.Damage.Dir, strings.ToUpper(s.String()[:1])+s.String()[1:])
	line("\nWhat was wrong:")
	for _, d := range s.Damage.Damages {
		line("  %s %s", d.File, d.What)
	}
	if len(s.Unread) > 0 {
		line("\nWhat could not be read:")
		for _, d := range s.Unread {
			line("  %s: %s", d.File, d.What)
		}
	}
	if len(s.Gaps) > 0 {
		line("\nNumbers of events that are gone (the store numbers its events from 1):")
		for _, g := range s.Gaps {
			line("  %d to %d, accepted between %s and %s", g.First, g.Last, instant(g.After), instant(g.Before))
		}
	}
	if len(s.Deliveries) > 0 {
		line("\nEvents that are gone, as far as they are known:")
		for _, d := range s.Deliveries {
			state := "not delivered"
			if d.Finished {
				state = "delivered or given up before"
			}
			line("  %s  accepted %s  %s  %s", d.Event, instant(d.Accepted), d.Subscription, state)
		}
	}
	if len(s.Unknown) > 0 {
		line("\nDeliveries that were not made, of events that are not known:")
		for _, text := range s.Unknown {
			line("  %s", text)
		}
	}
	for _, name := range s.Names {
		line("\nThe name of a subscription is gone. Its deliveries stand under %s.", name)
	}
	if s.Found > 0 {
		line("\nWhat is still wrong (%d):", s.Found)
		for _, f := range s.Findings {
			line("  %s", f)
		}
	}
}

func instant(t time.Time) string {
	if t.IsZero() {
		return "the beginning"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// log says the most of it.
func (s *Salvage) log(log *zap.Logger, kept string) {
	log.Error("the store was salvaged; take accept_loss out of the configuration", zap.String("result", s.String()),
		zap.String("damaged_files", kept), zap.String("list", filepath.Join(kept, lostName)))
	for i, g := range s.Gaps {
		if i == 100 {
			break
		}
		log.Error("acknowledged events are gone, and their loss is accepted by accept_loss",
			zap.Uint64("first", g.First), zap.Uint64("last", g.Last), zap.Time("accepted_after", g.After), zap.Time("accepted_before", g.Before))
	}
	for i, d := range s.Deliveries {
		if i == 100 {
			break
		}
		log.Error("a delivery's event is gone", zap.String("event", d.Event), zap.String("subscription", d.Subscription), zap.Bool("finished", d.Finished))
	}
}
