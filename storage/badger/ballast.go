package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// ballastName is a file that takes room so that it can be given up: where other programs
// have filled the volume, the store can still open and deliver what it holds.
const ballastName = "BALLAST"

const ballastMost = 64 << 20

// ballast is how large the file should be.
func (l Limits) ballast() int64 { return min(ballastMost, l.MinFree/4) }

// dropBallast gives the ballast up, and reports whether there was one. The caller holds
// the lock, or is alone.
func (s *space) dropBallast() bool {
	err := os.Remove(filepath.Join(s.dir, ballastName))
	if err == nil {
		s.log.Warn("the volume is full: the ballast was given up", zap.String("directory", s.dir))
	}
	return err == nil
}

// keepBallast makes the ballast where there is room for it and for all else.
func (s *space) keepBallast() {
	s.mu.Lock()
	s.refresh(time.Now())
	want, room := s.limits.ballast(), s.free-s.low()-s.low()/16
	known := s.free >= 0
	s.mu.Unlock()
	name := filepath.Join(s.dir, ballastName)
	info, err := os.Stat(name)
	there := err == nil && sizeOnDisk(info) >= want && info.Size() == want
	if there || !known || room < want || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	if err := errors.Join(allocate(file, want), file.Close()); err != nil {
		s.log.Debug("no ballast could be made", zap.Error(err))
		_ = os.Remove(name)
	}
}

// openOn decides how to open a store on a volume with little room: as always; with rest,
// without the merging of tables; or not at all.
func (s *space) openOn() (rest bool, err error) {
	u := count(s.dir)
	u.merging = mergingIn(s.dir)
	free := s.volume(s.dir)
	if free < 0 || free >= u.critical() {
		return false, nil
	}
	if s.dropBallast() {
		free = s.volume(s.dir)
	}
	if free < u.toOpen() {
		return false, fmt.Errorf("%w: %s are free on the volume of %s, and opening the database takes %s; nothing is lost: make room on the volume and start again",
			relay.ErrFull, humanize.IBytes(uint64(free)), s.dir, humanize.IBytes(uint64(u.toOpen())))
	}
	return free < u.critical(), nil
}
