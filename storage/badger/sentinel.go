package badger

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/caddyrelay/caddyrelay/relay"
)

// sentinelName is the file that says how far events were acknowledged.
const sentinelName = "SENTINEL"

// acked is what the sentinel says: which store this is, and the last event whose sender
// was told that it is stored.
type acked struct {
	id      [16]byte
	ordinal uint64
	seq     relay.Seq
}

// sentinel is a small file beside the database. Badger drops, without a word, what stands
// in a log behind a byte that has changed: only something outside of it can know what
// should be there.
//
// It holds two lines, written in turn, so that one of them is always whole. A line
// written is there after kill -9; it is synced once a second, so that after a power cut
// the sentinel may lag by as much, and never leads.
type sentinel struct {
	// path and identity are those of the file as it was opened.
	path     string
	identity fs.FileInfo

	mu         sync.Mutex
	file       *os.File
	last       acked
	generation uint64
	dirty      bool // written and not yet synced
}

// Lines of the file: each in a sector of its own.
const (
	sentinelLine   = 128
	sentinelStride = 512
	sentinelFormat = "caddyrelay-store 1 %x %020d %020d %020d "
)

var (
	errSentinelMissing = errors.New(sentinelName + " is missing")
	errSentinelDamaged = errors.New(sentinelName + " is damaged")
	// errVanished means that the open files are no longer those of the directory.
	errVanished = errors.New("the store is gone")
)

// readSentinel reads the file without changing it.
func readSentinel(dir string) (a acked, generation uint64, err error) {
	file, err := os.Open(filepath.Join(dir, sentinelName))
	if errors.Is(err, fs.ErrNotExist) {
		return a, 0, errSentinelMissing
	}
	if err != nil {
		return a, 0, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, 2*sentinelStride))
	if err != nil {
		return a, 0, err
	}
	err = errSentinelDamaged
	for at := 0; at+sentinelLine <= len(raw); at += sentinelStride {
		if found, n, ok := parseSentinel(raw[at : at+sentinelLine]); ok && n >= generation {
			a, generation, err = found, n, nil
		}
	}
	return a, generation, err
}

func formatSentinel(a acked, generation uint64) []byte {
	line := fmt.Appendf(make([]byte, 0, sentinelLine), sentinelFormat, a.id, generation, a.ordinal, uint64(a.seq))
	line = fmt.Appendf(line, "%08x", crc32.Checksum(line, castagnoli))
	for len(line) < sentinelLine-1 {
		line = append(line, ' ')
	}
	return append(line, '\n')
}

func parseSentinel(line []byte) (a acked, generation uint64, ok bool) {
	text := strings.TrimRight(string(line), " \n")
	cut := strings.LastIndexByte(text, ' ') + 1
	if cut == 0 || text[cut:] != fmt.Sprintf("%08x", crc32.Checksum([]byte(text[:cut]), castagnoli)) {
		return a, 0, false
	}
	var id string
	var seq uint64
	n, err := fmt.Sscanf(text[:cut], "caddyrelay-store 1 %s %d %d %d", &id, &generation, &a.ordinal, &seq)
	raw, hexErr := hex.DecodeString(id)
	if err != nil || hexErr != nil || n != 4 || len(raw) != len(a.id) {
		return a, 0, false
	}
	copy(a.id[:], raw)
	a.seq = relay.Seq(seq)
	return a, generation, true
}

// openSentinel opens the file for writing, after what was read of it.
func openSentinel(dir string, a acked, generation uint64) (*sentinel, error) {
	path := filepath.Join(dir, sentinelName)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	identity, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &sentinel{path: path, identity: identity, file: file, last: a, generation: generation}, nil
}

// makeSentinel writes a new file in which both lines have room already, so that a full
// disk does not stop them.
func makeSentinel(dir string, a acked) (*sentinel, error) {
	path := filepath.Join(dir, sentinelName)
	raw := make([]byte, sentinelStride+sentinelLine)
	copy(raw, formatSentinel(a, 1))
	copy(raw[sentinelStride:], formatSentinel(a, 2))
	temp := path + ".new"
	file, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(raw)
	var identity fs.FileInfo
	for _, step := range []func() error{
		file.Sync,
		func() error { return os.Rename(temp, path) },
		func() error { return syncDirectory(dir) },
		func() (err error) {
			identity, err = file.Stat()
			return err
		},
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &sentinel{path: path, identity: identity, file: file, last: a, generation: 2}, nil
}

// present returns an error if the file is no longer the one in the directory: that was
// removed or renamed, or its volume unmounted or covered by another one. What is written
// from then on would be acknowledged, and not be there at the next start.
func (s *sentinel) present() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isPresent()
}

// isPresent is present for who holds the lock.
func (s *sentinel) isPresent() error {
	dir := filepath.Dir(s.path)
	there, err := os.Stat(s.path)
	switch {
	case err == nil && os.SameFile(s.identity, there):
		return nil
	case err == nil:
		// Some file systems of containers number files anew. Then it says what was written.
		if found, generation, err := readSentinel(dir); err == nil && found == s.last && generation == s.generation {
			return nil
		}
		return fmt.Errorf("%w: other files are in its place; if they are the right ones, restart Caddy", vanished(dir))
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
		return nil // whether it is there cannot be told; the disk has its own errors
	}
	return vanished(dir)
}

// vanished tells the mend of a store that is no longer where it was.
func vanished(dir string) error {
	return fmt.Errorf("%w from %s: the directory was removed or renamed, or its volume unmounted or covered by another one, while it was in use; "+
		"put it back or mount it again, and all goes on; if it is lost, stop Caddy and restore it from a backup", errVanished, dir)
}

// note writes that everything up to an event is acknowledged. It is called after the
// commit and before its answers.
func (s *sentinel) note(ordinal uint64, seq relay.Seq) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ordinal == s.last.ordinal && seq == s.last.seq {
		return nil
	}
	if err := s.isPresent(); err != nil {
		return err
	}
	return s.write(acked{s.last.id, ordinal, seq})
}

// adopt makes the sentinel that of the database, where it was lost.
func (s *sentinel) adopt(id [16]byte, t tail) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(acked{id, t.ordinal, t.last})
}

func (s *sentinel) write(next acked) error {
	generation := s.generation + 1
	at := int64(0)
	if generation%2 == 0 {
		at = sentinelStride
	}
	if _, err := s.file.WriteAt(formatSentinel(next, generation), at); err != nil {
		return fmt.Errorf("writing %s: %w", sentinelName, err)
	}
	s.last, s.generation, s.dirty = next, generation, true
	return nil
}

// sync brings it to the disk if it was written since.
func (s *sentinel) sync() error {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = false
	s.mu.Unlock()
	if !dirty {
		return nil
	}
	// Outside the lock: the committer does not wait for it.
	return s.file.Sync()
}

func (s *sentinel) close() error { return errors.Join(s.sync(), s.file.Close()) }

func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
