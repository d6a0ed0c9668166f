// Package transfer writes and reads what is moved from one relay to another: newline-delimited
// JSON, one line for each event, idempotency key, steered subscription and the egress list, with a
// first line that says what it is and a last one that says whether it is whole.
package transfer
