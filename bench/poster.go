//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// eventType is that of all events.
const eventType = "bench.posted"

// rawPoster writes HTTP/1.1 by hand to one connection that is kept: a client of
// net/http would cost several times as much, on the cores that are measured.
type rawPoster struct {
	order   *LoadOrder
	request []byte   // head and body
	events  [][]byte // the bodies in it
	conn    net.Conn
	answers *bufio.Reader
}

// answerPatience is how long an answer may take beyond the length of the load.
const answerPatience = 30 * time.Second

func newRawPoster(order *LoadOrder) (*rawPoster, error) {
	path, media, before, after := "/v1/events/"+cmp.Or(order.Type, eventType), "application/json", "", ""
	if order.Batch > 1 {
		path, media, before, after = "/v1/events", "application/x-ndjson", `{"type":"`+cmp.Or(order.Type, eventType)+`","data":`, "}\n"
	}
	n := max(order.Batch, 1)
	length := n * (len(before) + order.Size + len(after))
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", path, order.Address, media, length)
	request = slices.Grow(request, length) // the bodies stay where they are
	p := &rawPoster{order: order}
	for range n {
		request = append(request, before...)
		request = append(request, newBody(order.Size)...)
		p.events = append(p.events, request[len(request)-order.Size:])
		request = append(request, after...)
	}
	p.request = request
	return p, p.connect()
}

func (p *rawPoster) bodies() [][]byte { return p.events }

func (p *rawPoster) close() error {
	if p.conn == nil {
		return nil
	}
	return p.conn.Close()
}

func (p *rawPoster) connect() error {
	conn, err := net.DialTimeout("tcp", p.order.Address, 5*time.Second)
	if err != nil {
		return err
	}
	// One deadline for all: to set one for each request would cost.
	if err := conn.SetDeadline(time.Now().Add(p.order.Length + answerPatience)); err != nil {
		conn.Close()
		return err
	}
	p.conn, p.answers = conn, bufio.NewReader(conn)
	return nil
}

// post sends the events once; nothing is tried again, so that no event is sent twice.
// After an error the next one opens a connection.
func (p *rawPoster) post(uint64) error {
	if p.conn == nil {
		if err := p.connect(); err != nil {
			return err
		}
	}
	status, keep, err := p.exchange()
	if err != nil || !keep {
		p.conn.Close()
		p.conn = nil
	}
	if err == nil && status != p.order.Status {
		err = fmt.Errorf("answered %d %s", status, http.StatusText(status))
	}
	return err
}

func (p *rawPoster) exchange() (status int, keep bool, err error) {
	if _, err := p.conn.Write(p.request); err != nil {
		return 0, false, err
	}
	line, err := p.answers.ReadSlice('\n')
	if err != nil {
		return 0, false, fmt.Errorf("reading the status line: %w", err)
	}
	if status, err = statusOf(line); err != nil {
		return 0, false, err
	}
	length, keep := -1, true
	for {
		line, err := p.answers.ReadSlice('\n')
		if err != nil {
			return 0, false, fmt.Errorf("reading the answer's header: %w", err)
		}
		if len(line) <= len("\r\n") {
			break
		}
		switch name, value, _ := bytes.Cut(line, []byte(":")); {
		case is(name, "Content-Length"):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, false, fmt.Errorf("reading the answer's length: %w", err)
			}
		case is(name, "Connection"):
			keep = !bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
		}
	}
	if length < 0 {
		return 0, false, errors.New("the answer has no Content-Length, which is all that is understood here")
	}
	_, err = p.answers.Discard(length)
	return status, keep, err
}

// statusOf reads "HTTP/1.1 202 Accepted".
func statusOf(line []byte) (int, error) {
	const prefix = "HTTP/1.1 "
	if len(line) < len(prefix)+3 || string(line[:len(prefix)]) != prefix {
		return 0, fmt.Errorf("the answer begins with %.40q, which is no HTTP/1.1", line)
	}
	return strconv.Atoi(string(line[len(prefix) : len(prefix)+3]))
}

// is compares the name of a header field. Both lengths first: it is nearly always no.
func is(name []byte, want string) bool {
	return len(name) == len(want) && bytes.EqualFold(name, []byte(want))
}
