package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// images are the screens that the documentation shows.
func images(event receipt) map[string]string {
	return map[string]string{
		"overview":     "",
		"delivery":     "events/" + event.ID + "/deliveries/erp",
		"event":        "events/" + event.ID + "?explain=crm",
		"subscription": "subscriptions/crm",
	}
}

// TestConsoleImages makes the pictures of the documentation when UPDATE=1, in light and
// dark. Otherwise it looks whether those that the pages show are there.
func TestConsoleImages(t *testing.T) {
	t.Parallel()
	if os.Getenv("UPDATE") == "" {
		shown := 0
		for page, folder := range map[string]string{"../README.md": "..", "../docs/console.md": "../docs"} {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range regexp.MustCompile(`(?:src|srcset)="([^"]+\.png)"`).FindAllStringSubmatch(string(text), -1) {
				shown++
				if _, err := os.Stat(filepath.Join(folder, found[1])); err != nil {
					t.Errorf("%s shows %s: %v", page, found[1], err)
				}
			}
		}
		if shown == 0 {
			t.Error("no page shows a picture")
		}
		return
	}
	shop, erp, down := newReceiver(t), newReceiver(t), newReceiver(t)
	down.answer(with(http.StatusBadGateway))
	erp.answer(func(w http.ResponseWriter, a *arrival) {
		if a.header.Get("Relay-Attempt") == "1" {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"error":"maintenance until 07:30"}`))
		}
	})
	consoles, url := withConsoles(t)
	c := run(t, fmt.Sprintf(`
		region eu 127.0.0.1 127.0.0.2
		region us {
			egress 127.0.0.3
			egress 127.0.0.4 from 2099-01-01T00:00:00Z
		}
		defaults {
			allow_ips 127.0.0.0/8
			region eu
			retry 1s 1s 5m
			sign standard {env.SECRET}
		}
		subscription erp %s order.* {
			description "Orders to the ERP"
			contact mailto:erp@example.com
			secret_header X-Api-Key {env.SECRET}
		}
		subscription crm %[2]s customer.* order.paid {
			region us
			filter customer.country in FR DE
			expression "event.data.total > 100.0"
		}
		subscription warehouse %[2]s order.paid order.cancelled
		subscription newsletter %[2]s customer.* {
			paused "moves to the new provider on Friday"
		}
		subscription billing %[3]s order.paid
	`, erp.url(), shop.url(), down.url()), consoles, withEnv("SECRET="+newSecret()))
	var event receipt
	for i, typ := range []string{"customer.created", "order.created", "customer.updated", "order.cancelled", "order.created", "order.paid"} {
		event = c.accept(typ, fmt.Sprintf(`{"order":%d,"total":%d.9,"currency":"EUR","customer":{"name":"Zoé Dupont","country":"CH"},"lines":[{"sku":"A-17","quantity":2}]}`, 1040+i, 40+i))
	}
	c.wantDelivery(event.ID, "erp", "delivered", "")
	c.wantDelivery(event.ID, "billing", "retrying", "")
	b := openTab(t)
	for _, scheme := range []string{"light", "dark"} {
		b.look(scheme, 1200)
		for name, path := range images(event) {
			b.open(url + path)
			b.wait("Caddy Relay")
			picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("..", "docs", "images", strings.Join([]string{"console", name, scheme}, "-")+".png")
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
