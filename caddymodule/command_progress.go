package caddymodule

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// progress shows how far a long work is, on a terminal only.
type progress struct {
	noun string
	// out is nil where nothing is shown.
	out io.Writer

	mu          sync.Mutex
	done, total int
	shown       time.Time
	ended       bool
}

// progressEvery is how often it is drawn anew.
const progressEvery = 100 * time.Millisecond

// progressWidth is that of the bar, in characters.
const progressWidth = 30

// newProgress makes one that counts these things.
func newProgress(cmd *cobra.Command, noun string) *progress {
	p := &progress{noun: noun}
	if term.IsTerminal(int(os.Stderr.Fd())) && !wantsJSON(cmd) {
		p.out = cmd.ErrOrStderr()
	}
	return p
}

// of says how many there are in all.
func (p *progress) of(total int) { p.set(-1, total) }

// add counts n more.
func (p *progress) add(n int) {
	p.mu.Lock()
	done, total := p.done+n, p.total
	p.mu.Unlock()
	p.set(done, total)
}

// set says how many are done, if that is not negative, of how many.
func (p *progress) set(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total = total; done >= 0 {
		p.done = done
	}
	if p.out == nil || p.ended || time.Since(p.shown) < progressEvery {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.out, "\r%s", p.line())
}

func (p *progress) line() string {
	if p.total <= 0 {
		return fmt.Sprintf("%d %s", p.done, p.noun)
	}
	full := min(progressWidth, p.done*progressWidth/p.total)
	return fmt.Sprintf("[%s%s] %d of %d %s", strings.Repeat("#", full), strings.Repeat(".", progressWidth-full), p.done, p.total, p.noun)
}

// end leaves the last state on its line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out != nil && !p.ended && !p.shown.IsZero() {
		fmt.Fprintf(p.out, "\r%s\n", p.line())
	}
	p.ended = true
}

// bytes counts what is written to it.
func (p *progress) bytes() io.Writer {
	return writerFunc(func(b []byte) (int, error) {
		p.add(len(b))
		return len(b), nil
	})
}
