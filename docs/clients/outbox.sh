#!/bin/sh
# Sends the rows of a table, in order, and deletes each that the relay has taken. See
# README.md for the table, and for who writes the rows.
RELAY=http://localhost:4665
while sleep 1; do
	sqlite3 shop.db "SELECT id || ' ' || type || ' ' || json(data) FROM outbox ORDER BY id" |
		while read -r id type data; do
			status=$(printf %s "$data" | curl -H 'Content-Type: application/json' -H "Idempotency-Key: shop-outbox-$id" \
				--data-binary @- --silent --show-error --output answer.json --write-out '%{http_code}' \
				--max-time 15 --retry 10 --retry-all-errors "$RELAY/v1/events/$type")
			if [ "$status" != 202 ]; then # of a refusal, somebody must hear
				echo "row $id: $status $(cat answer.json)" >&2
				break
			fi
			sqlite3 -cmd '.timeout 5000' shop.db "DELETE FROM outbox WHERE id = $id"
		done
done
