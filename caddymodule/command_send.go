package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay"
)

func sendCommand() *cobra.Command {
	var id, source, subject string
	var dry bool
	cmd := &cobra.Command{
		Use:   "send <type> [<data> | @<file> | -]",
		Short: "Send an event, as an application would",
		Long: `Sends one event. The data is JSON, given as an argument, in a file, or on the standard
input; without any it is null. It arrives at receivers byte for byte.`,
		Example: `  caddy relay send order.paid '{"order":42}'
  caddy relay send order.paid @order.json --id order-42-paid
  caddy relay send order.paid @order.json --dry-run`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := sendData(args[1:])
			if err != nil {
				return err
			}
			envelope, err := makeEnvelope(args[0], data, id, source, subject)
			if err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			route := "/relay/events"
			if dry {
				route = "/relay/preview"
			}
			body, err := c.call(http.MethodPost, route, envelope)
			if err != nil {
				return err
			}
			switch {
			case wantsJSON(cmd):
				return printJSON(cmd.OutOrStdout(), body)
			case dry:
				return printPreview(cmd.OutOrStdout(), body)
			}
			return printReceipt(cmd.OutOrStdout(), body)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "store and send nothing: show who would get what, and why")
	cmd.Flags().StringVar(&id, "id", "", "your own id of the event: sent twice, it is delivered once")
	cmd.Flags().StringVar(&source, "source", "", "where the event comes from, a URI reference")
	cmd.Flags().StringVar(&subject, "subject", "", "what the event is about")
	return cmd
}

// sendData returns the data that the arguments name, as it is.
func sendData(args []string) ([]byte, error) {
	if len(args) == 0 {
		return []byte("null"), nil
	}
	var data []byte
	var err error
	switch file, isFile := strings.CutPrefix(args[0], "@"); {
	case args[0] == "-":
		data, err = io.ReadAll(io.LimitReader(os.Stdin, relay.MaxDataSize+1))
	case isFile:
		data, err = os.ReadFile(file)
	default:
		data = []byte(args[0])
	}
	if err != nil {
		return nil, fmt.Errorf("reading the data: %w", err)
	}
	if !json.Valid(data) {
		return nil, fmt.Errorf("the data is not JSON; a text is written in quotes: '\"like this\"'")
	}
	return data, nil
}

// makeEnvelope builds the JSON envelope around data without touching its bytes.
func makeEnvelope(typ string, data []byte, id, source, subject string) ([]byte, error) {
	envelope := []byte{'{'}
	for _, member := range []struct{ name, value string }{{"type", typ}, {"id", id}, {"source", source}, {"subject", subject}} {
		if member.value == "" && member.name != "type" {
			continue
		}
		value, err := json.Marshal(member.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", member.name, err)
		}
		envelope = fmt.Appendf(envelope, "%q:%s,", member.name, value)
	}
	envelope = append(envelope, `"data":`...)
	envelope = append(envelope, data...)
	return append(envelope, '}'), nil
}

func printReceipt(w io.Writer, body []byte) error {
	var receipt struct {
		ID        string   `json:"id"`
		Type      string   `json:"type"`
		Matched   []string `json:"matched"`
		Duplicate bool     `json:"duplicate"`
	}
	if err := decode(body, &receipt); err != nil {
		return err
	}
	matched := "no subscription matched"
	if len(receipt.Matched) > 0 {
		matched = "for " + strings.Join(receipt.Matched, ", ")
	}
	state := "accepted"
	if receipt.Duplicate {
		state = "was accepted before"
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s, %s\n", receipt.ID, receipt.Type, state, matched)
	return err
}
