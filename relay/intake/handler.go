package intake

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/arrival"
	"github.com/caddyrelay/caddyrelay/relay/catalogue"
)

// DefaultMaxEventSize is the largest body that is taken unless [Options] say
// otherwise, in bytes.
const DefaultMaxEventSize = 512 << 10

// Engine is what the intake needs of the relay.
type Engine interface {
	// Publish returns when the events are durable; see [relay.Relay.Publish].
	Publish(ctx context.Context, events []relay.Publication, whole *relay.Key) ([]relay.Receipt, error)
	// Inspect returns an event with its deliveries and their attempts, or
	// [relay.ErrNotFound].
	Inspect(ctx context.Context, id string) (*relay.Event, []relay.Delivery, error)
	// Err returns why no events are accepted at present, or nil.
	Err() error
}

// Observer is told what happens, for metrics. Its methods are called from many
// goroutines and must not block.
type Observer interface {
	// Rejected is called for each POST that was refused, with the slug of its problem:
	// one of a fixed set, see [ProblemTypes].
	Rejected(reason string)
	// Took is called for each POST that was answered 202, with the time from its first
	// byte to the answer.
	Took(d time.Duration)
}

// Options of a [Handler].
type Options struct {
	// Engine returns the engine as soon as it is ready, or an error at the latest when
	// ctx ends. It is called for each request and should be quick once it is ready.
	Engine func(ctx context.Context) (Engine, error)
	// Tokens are accepted as "Authorization: Bearer". Without any, only requests from
	// this machine are.
	Tokens []string
	// MaxEventSize is in bytes. Default: [DefaultMaxEventSize]. At most
	// [relay.MaxDataSize].
	MaxEventSize int
	// MaxBatch is the largest number of events in one request. Default: [DefaultMaxBatch].
	// The body of a batch has at most [MaxBatchSize] bytes.
	MaxBatch int
	// DefaultSource is the source of events that name none. Default: empty.
	DefaultSource string
	// TypeFrom and KeyFrom say where the event type and the idempotency key are found;
	// the first one that finds something counts.
	TypeFrom, KeyFrom []Locator
	// Catalogue is what is known of the types of events; nil: nothing.
	Catalogue *catalogue.Catalogue
	// Hosts are host names that are right besides localhost and loopback addresses; any
	// port will do.
	Hosts []string
	// Logger and Observer may be nil.
	Logger   *zap.Logger
	Observer Observer
}

// Handler takes events over HTTP. Make it with [New]. It keeps nothing of a request once
// it is answered.
type Handler struct {
	engine    func(context.Context) (Engine, error)
	tokens    [][sha256.Size]byte
	maxSize   int
	maxBatch  int
	source    string
	typeFrom  []finder
	keyFrom   []finder
	catalogue *catalogue.Catalogue
	hosts     arrival.Hosts
	logger    *zap.Logger
	observer  Observer
	failures  pacer
	budget    *budget
	// lingering is the number of requests in [Handler.linger].
	lingering atomic.Int32
}

// New checks the options and returns a handler.
func New(o Options) (*Handler, error) {
	h := &Handler{
		engine:    o.Engine,
		maxSize:   o.MaxEventSize,
		maxBatch:  cmp.Or(o.MaxBatch, DefaultMaxBatch),
		source:    o.DefaultSource,
		catalogue: o.Catalogue,
		logger:    o.Logger,
		observer:  o.Observer,
		budget:    newBudget(budgetSize(debug.SetMemoryLimit(-1))),
	}
	if h.engine == nil {
		return nil, errors.New("intake: the engine is missing")
	}
	if h.maxSize == 0 {
		h.maxSize = DefaultMaxEventSize
	}
	if h.maxSize < 0 || h.maxSize > relay.MaxDataSize {
		return nil, fmt.Errorf("intake: max_event_size is %d bytes; give 1 to %d (1000KiB)", h.maxSize, relay.MaxDataSize)
	}
	if h.maxBatch < 0 || h.maxBatch > MaxMaxBatch {
		return nil, fmt.Errorf("intake: max_batch is %d events; give 1 to %d", h.maxBatch, MaxMaxBatch)
	}
	if err := checkAttribute(h.source); err != nil {
		return nil, fmt.Errorf("intake: default_source %w", err)
	}
	for _, token := range o.Tokens {
		if strings.TrimSpace(token) == "" {
			return nil, errors.New("intake: a token is empty; give a secret, or no token to take requests from this machine only")
		}
		h.tokens = append(h.tokens, sha256.Sum256([]byte(strings.TrimSpace(token))))
	}
	var err error
	if h.hosts, err = arrival.ParseHosts(o.Hosts); err != nil {
		return nil, fmt.Errorf("intake: hosts: %w", err)
	}
	if h.typeFrom, err = compile(o.TypeFrom); err != nil {
		return nil, fmt.Errorf("intake: type_from: %w", err)
	}
	if h.keyFrom, err = compile(o.KeyFrom); err != nil {
		return nil, fmt.Errorf("intake: key_from: %w", err)
	}
	if h.logger == nil {
		h.logger = zap.NewNop()
	}
	if h.observer == nil {
		h.observer = nopObserver{}
	}
	return h, nil
}

// Paths of the API.
const (
	pathLive    = "/livez"
	pathReady   = "/readyz"
	pathOpenAPI = "/openapi.json"
	pathAPI     = "/v1/"
	pathEvents  = "/v1/events"
	pathTypes   = "/v1/event-types"
)

// ServeHTTP implements [http.Handler]. It answers every request that it gets: what it
// does not know is a 404 problem, never an empty 200 that an application would take
// for success.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The escaped form, so that a slash within a type is told from one between segments.
	path := r.URL.EscapedPath()
	switch path {
	case pathLive, pathReady:
		h.serveHealth(w, r, path == pathReady)
		return
	case pathOpenAPI:
		h.serveOpenAPI(w, r)
		return
	}
	if strings.HasPrefix(path, pathAPI) {
		if ref := h.guard(r); ref != nil {
			h.refuse(w, r, ref)
			return
		}
	}
	if path == pathTypes {
		h.showTypes(w, r)
		return
	}
	if path == pathEvents {
		if r.Method != http.MethodPost {
			h.refuse(w, r, wrongMethod(r.Method, http.MethodPost))
			return
		}
		h.Accept(w, r, "")
		return
	}
	segment, ok := strings.CutPrefix(path, pathEvents+"/")
	if !ok || segment == "" || strings.Contains(segment, "/") {
		h.refuse(w, r, unknownPath(r))
		return
	}
	h.serveEvent(w, r, segment)
}

// serveEvent answers below /v1/events/: the last segment is the type of an event to
// come, or the ID of one that is here.
func (h *Handler) serveEvent(w http.ResponseWriter, r *http.Request, segment string) {
	name, err := url.PathUnescape(segment)
	if err != nil {
		h.refuse(w, r, unknownPath(r))
		return
	}
	switch r.Method {
	case http.MethodPost:
		h.Accept(w, r, name)
	case http.MethodGet, http.MethodHead:
		h.show(w, r, name)
	default:
		h.refuse(w, r, wrongMethod(r.Method, "GET, HEAD, POST"))
	}
}

func unknownPath(r *http.Request) *refusal {
	return refuse(problemNotFound, fmt.Sprintf("There is nothing at %.255q. POST the data to /v1/events/{type}, or an envelope to /v1/events.", r.URL.Path))
}

func wrongMethod(method, allowed string) *refusal {
	return refuse(problemMethod, fmt.Sprintf("%.40q is not a method of this path; it takes %s.", method, allowed)).with("Allow", allowed)
}

type nopObserver struct{}

func (nopObserver) Rejected(string)    {}
func (nopObserver) Took(time.Duration) {}
