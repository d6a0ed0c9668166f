package badger

import (
	"bytes"
	"cmp"
	"container/heap"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// merger reads all that can be read of a database's files, in the order of keys.
type merger struct {
	sources []*source // a heap
	// unread says what could not be read.
	unread []Damage
	last   []byte
}

// source is a table, or the entries of a log. A table is opened when its turn comes: of
// thousands only few are open at a time.
type source struct {
	entries []files.Entry // the rest of the block, or of the log; the first is next

	name  string
	info  files.TableInfo
	keys  files.Keys
	table *files.Table
	block int
	first []byte // its first key, as long as the table was not opened
}

// key is where the source stands.
func (s *source) key() []byte {
	if len(s.entries) == 0 {
		return s.first
	}
	return s.entries[0].Key
}

// compare puts a table that was not opened before all others of its first key.
func (s *source) compare(other *source) int {
	if c := bytes.Compare(s.key(), other.key()); c != 0 {
		return c
	}
	version := func(s *source) uint64 {
		if len(s.entries) == 0 {
			return ^uint64(0)
		}
		return s.entries[0].Version
	}
	return cmp.Compare(version(other), version(s))
}

// newMerger opens what an examination has seen.
func newMerger(x *examination) (*merger, error) {
	m := &merger{}
	for _, name := range x.logs {
		var entries []files.Entry
		log, err := files.ReadLog(name, x.keys, func(e files.Entry) { entries = append(entries, e) })
		if err != nil {
			return nil, err
		}
		for _, e := range log.Behind {
			if sound(e) {
				entries = append(entries, e)
			}
		}
		slices.SortStableFunc(entries, func(a, b files.Entry) int {
			return cmp.Or(bytes.Compare(a.Key, b.Key), cmp.Compare(b.Version, a.Version))
		})
		if len(entries) > 0 {
			m.sources = append(m.sources, &source{name: name, entries: entries})
		}
	}
	for id, info := range x.tables {
		s := &source{name: files.TableName(x.dir, id), info: info, keys: x.keys}
		t, err := files.OpenTable(s.name, info, x.keys)
		if err != nil {
			m.note(s, err)
			continue
		}
		s.first = t.First(0)
		if err := t.Close(); err != nil {
			return nil, err
		}
		m.sources = append(m.sources, s)
	}
	heap.Init(m)
	return m, nil
}

// sound reports whether an entry that was found behind something else is a record: where a
// log is encrypted and its beginning damaged, what is decrypted is noise.
func sound(e files.Entry) bool {
	if e.Deleted {
		return len(e.Key) > 0 && strings.IndexByte(allPrefixes, e.Key[0]) >= 0
	}
	_, err := unseal(e.Key, e.Value)
	return err == nil
}

func (m *merger) note(s *source, err error) {
	what := err.Error()
	if files.IsMissing(err) {
		what = isMissing
	}
	m.unread = append(m.unread, Damage{filepath.Base(s.name), what})
}

// each passes the newest version of every record to fn, unless it is a deletion.
func (m *merger) each(fn func(files.Entry) error) error {
	defer m.close()
	for len(m.sources) > 0 {
		s := m.sources[0]
		if len(s.entries) == 0 {
			if err := m.next(s); err != nil {
				return err
			}
			continue
		}
		e := s.entries[0]
		s.entries = s.entries[1:]
		if m.last == nil || !bytes.Equal(e.Key, m.last) {
			m.last = append(make([]byte, 0, 64), e.Key...)
			if !e.Deleted {
				if err := fn(e); err != nil {
					return err
				}
			}
		}
		if err := m.next(s); err != nil {
			return err
		}
	}
	return nil
}

// next puts the first source at its place, after it has read its next block if need be.
func (m *merger) next(s *source) error {
	for len(s.entries) == 0 {
		if s.table == nil && s.first == nil { // a log, or a table that is at its end
			heap.Pop(m)
			return nil
		}
		if s.table == nil {
			t, err := files.OpenTable(s.name, s.info, s.keys)
			if err != nil {
				m.note(s, err)
				heap.Pop(m)
				return nil
			}
			s.table = t
		}
		if s.block == s.table.Blocks() {
			err := s.table.Close()
			s.table, s.first = nil, nil
			if err != nil {
				return err
			}
			continue
		}
		entries, err := s.table.Block(s.block)
		if err != nil {
			m.note(s, err)
		}
		s.entries = entries
		s.block++
	}
	heap.Fix(m, 0)
	return nil
}

func (m *merger) close() {
	var err error
	for _, s := range m.sources {
		if s.table != nil {
			err = errors.Join(err, s.table.Close())
		}
	}
	m.sources = nil
	_ = err // they were only read
}

// Len implements [heap.Interface].
func (m *merger) Len() int { return len(m.sources) }

// Less implements [heap.Interface].
func (m *merger) Less(i, j int) bool { return m.sources[i].compare(m.sources[j]) < 0 }

// Swap implements [heap.Interface].
func (m *merger) Swap(i, j int) { m.sources[i], m.sources[j] = m.sources[j], m.sources[i] }

// Push implements [heap.Interface].
func (m *merger) Push(x any) { m.sources = append(m.sources, x.(*source)) }

// Pop implements [heap.Interface].
func (m *merger) Pop() any {
	last := len(m.sources) - 1
	s := m.sources[last]
	m.sources[last] = nil
	m.sources = m.sources[:last]
	return s
}
