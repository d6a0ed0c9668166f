#!/bin/sh
# curl repeats by itself what a repeat can mend: no answer, 408, 429, 5xx. It waits as
# Retry-After says, else 1, 2, 4, ... seconds.
RELAY=http://localhost:4665
status=$(curl --json '{"order":42}' -H 'Idempotency-Key: order-42-paid' \
	--silent --show-error --output answer.json --write-out '%{http_code}' \
	--max-time 15 --retry 10 --retry-all-errors $RELAY/v1/events/order.paid)
cat answer.json
[ "$status" = 202 ]
