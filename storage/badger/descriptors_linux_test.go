package badger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyrelay/caddyrelay/relay"
)

// floodedEnv makes the test binary open the store in the directory that it names, and let it
// fail and open again while all descriptors are taken. The directory follows "with " or
// "without ", which is whether the store has its reserve.
const floodedEnv = "CADDYRELAY_TEST_FLOODED"

func floodedChild(how string) {
	fail := func(err error) {
		fmt.Println("failed:", err)
		os.Exit(2)
	}
	reserve, dir, _ := strings.Cut(how, " ")
	limit := syscall.Rlimit{Cur: 128, Max: 128}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		fail(err)
	}
	var broken, flooded atomic.Bool
	var taken []*os.File
	refused := make(chan struct{}, 1)
	flood := func(e zapcore.Entry) error {
		if strings.HasPrefix(e.Message, "the store could not be opened") {
			refused <- struct{}{}
		}
		for flooded.Load() && strings.HasPrefix(e.Message, "All ") { // before the reserve is freed
			f, err := os.Open(os.DevNull)
			if err != nil {
				break
			}
			taken = append(taken, f)
		}
		return nil
	}
	logs := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zapcore.DebugLevel)
	s, err := Open(dir, Options{Logger: zap.New(logs, zap.Hooks(flood))})
	if err != nil {
		fail(err)
	}
	if reserve == "without" {
		s.reserve.free()
		s.options.reserve = nil
	}
	withCommit(s, func(txn *bdb.Txn) error {
		if broken.Swap(false) {
			return errors.New("too many open files")
		}
		return txn.Commit()
	})
	opened := make(chan struct{})
	s.OnReopen(func() { close(opened) })
	s.mendAfter = time.Millisecond
	broken.Store(true)
	flooded.Store(true)
	batch := relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "order.paid", Data: []byte("1")}}}}
	if _, err := s.Append(background, batch, nil); !errors.Is(err, relay.ErrBroken) {
		fail(fmt.Errorf("Append: %w", err))
	}
	select {
	case <-opened:
	case <-refused:
		fail(errors.New("the store does not open again"))
	}
	flooded.Store(false)
	for _, f := range taken {
		_ = f.Close()
	}
	fmt.Println("opened again")
	if err := s.Close(); err != nil {
		fail(err)
	}
}

// TestStoreOpensAgainAmidAFlood: where every descriptor is taken as soon as it is free, a
// store that opens itself again has those that Badger cannot do without. The control has
// no reserve.
func TestStoreOpensAgainAmidAFlood(t *testing.T) {
	for reserve, want := range map[string]string{"with": "opened again", "without": "does not open again"} {
		t.Run(reserve, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), floodedEnv+"="+reserve+" "+t.TempDir())
			out, err := cmd.CombinedOutput()
			if !strings.Contains(string(out), want) || (err == nil) != (reserve == "with") {
				t.Errorf("%v: %s; want %q", err, out, want)
			}
		})
	}
}
