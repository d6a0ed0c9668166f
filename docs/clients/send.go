// Send posts one event, and repeats that until it is safe with the relay.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"time"
)

const relay = "http://localhost:4665"

var client = &http.Client{Timeout: 15 * time.Second}

// send returns what the relay answered once the event is safe with it.
func send(kind string, data []byte, key string) (string, error) {
	for attempt := range 10 {
		wait := 1 << attempt
		request, err := http.NewRequest(http.MethodPost, relay+"/v1/events/"+kind, bytes.NewReader(data))
		if err != nil {
			return "", err
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", key)
		// An error means no answer: it may be stored or not, and the key makes a repeat harmless.
		if answer, err := client.Do(request); err == nil {
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			switch code := answer.StatusCode; {
			case err == nil && code == http.StatusAccepted:
				return string(body), nil
			case code < 500 && code != http.StatusAccepted && code != http.StatusRequestTimeout && code != http.StatusTooManyRequests:
				return "", fmt.Errorf("%s: %s", answer.Status, body) // a repeat would not help
			}
			if after, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
				wait = after
			}
		}
		time.Sleep(time.Duration(wait) * time.Second)
	}
	return "", errors.New("the relay did not take the event")
}

func main() {
	answer, err := send("order.paid", []byte(`{"order":42}`), "order-42-paid")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(answer)
}
