package caddymodule

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// damagedStore is a store of which one event cannot be read.
type damagedStore struct {
	*storagetest.Memory
	bad *relay.Seq
}

func (s damagedStore) Event(ctx context.Context, q relay.Seq) (*relay.Event, error) {
	if *s.bad == q {
		return nil, &relay.UnreadableError{Seq: q, Err: context.DeadlineExceeded}
	}
	return s.Memory.Event(ctx, q)
}

// What the running relay leaves out of an export is not moved, and the command must say so, as it
// does with --offline.
func TestExportOfARunningRelayTellsWhatItLeavesOut(t *testing.T) {
	bad := new(relay.Seq)
	engine, err := relay.Open(t.Context(), damagedStore{storagetest.NewMemory(time.Now), bad}, relay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	plan, err := relay.NewPlan(relay.PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	engine.Attach(plan)
	var ids []string
	for range 2 {
		receipts, err := engine.Publish(t.Context(), []relay.Publication{{Event: &relay.Event{Type: "a", ContentType: "application/json", Data: []byte("1")}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, receipts[0].ID)
	}
	if *bad, _, err = relay.ParseID(ids[0]); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := adminExport(w, r, &App{logger: zap.NewNop()}, engine); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "export")
	out, err := command(t, "", "export", "--all", file, "--address", strings.TrimPrefix(server.URL, "http://"))
	if err == nil || !strings.Contains(err.Error(), "1 event cannot be read, and are not in the export") {
		t.Errorf("one of two events is not in the export: %v\n%s", err, out)
	}
}
