//go:build linux

package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// clientPoster is a plain loop around net/http: it signs an event and posts it to each
// of the sink's subscriptions in turn.
type clientPoster struct {
	order  *LoadOrder
	client *http.Client
	signer *signature.Standard
	event  []byte
	events [][]byte // the same, alone
}

func newClientPoster(order *LoadOrder) (*clientPoster, error) {
	signer, err := signature.NewStandard(signature.TimedSecret{Secret: order.Secret})
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: answerPatience, Transport: clientTransport}
	event := newBody(order.Size)
	return &clientPoster{order: order, client: client, signer: signer, event: event, events: [][]byte{event}}, nil
}

// clientTransport is shared by the posters of a process, as a program would. None of
// them shall wait for a new connection: Go keeps only two idle ones by default.
var clientTransport = &http.Transport{MaxIdleConnsPerHost: maxPosters, DisableCompression: true}

func (p *clientPoster) bodies() [][]byte { return p.events }

func (p *clientPoster) close() error {
	p.client.CloseIdleConnections()
	return nil
}

func (p *clientPoster) post(event uint64) error {
	id := "evt_" + strconv.FormatUint(event, 36)
	for i := range p.order.Fanout {
		url := "http://" + p.order.Address + subscriptionPath + strconv.Itoa(i)
		request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(p.event))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		if err := p.signer.Sign(request.Header, signature.Message{ID: id, Time: time.Now(), Body: p.event}); err != nil {
			return err
		}
		answer, err := p.client.Do(request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil {
			return err
		}
		if answer.StatusCode != p.order.Status {
			return fmt.Errorf("answered %s", answer.Status)
		}
	}
	return nil
}

// commitPoster commits each event by itself to a Badger that syncs, as the simplest
// durable intake would.
type commitPoster struct {
	store  *bdb.DB
	event  []byte
	events [][]byte // the same, alone
}

func newCommitPoster(order *LoadOrder) (*commitPoster, error) {
	// The relay's memtable, which decides how much is written (see the module's
	// storage/badger); all else as Badger would have it.
	store, err := bdb.Open(bdb.DefaultOptions(order.Directory).WithSyncWrites(true).WithMemTableSize(16 << 20).WithLogger(nil))
	if err != nil {
		return nil, fmt.Errorf("opening a Badger: %w", err)
	}
	event := newBody(order.Size)
	return &commitPoster{store: store, event: event, events: [][]byte{event}}, nil
}

func (p *commitPoster) bodies() [][]byte { return p.events }

func (p *commitPoster) close() error { return p.store.Close() }

func (p *commitPoster) post(event uint64) error {
	key := binary.BigEndian.AppendUint64([]byte("event/"), event)
	// The transaction keeps the value until it is committed, which is before the next.
	return p.store.Update(func(txn *bdb.Txn) error { return txn.Set(key, p.event) })
}
