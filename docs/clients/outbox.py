import json, sqlite3, sys, time, urllib.error, urllib.request

RELAY = "http://localhost:4665"


def pay(db, order):
    with db:  # one transaction: both rows, or none
        db.execute("UPDATE orders SET paid = 1 WHERE id = ?", (order,))
        db.execute("INSERT INTO outbox (type, data) VALUES (?, ?)", ("order.paid", json.dumps({"order": order})))


def pump(db):
    """Sends all rows, in order. Returns after how many seconds it is to be called again."""
    for row, kind, data in db.execute("SELECT id, type, data FROM outbox ORDER BY id").fetchall():
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"shop-outbox-{row}"}
        request = urllib.request.Request(f"{RELAY}/v1/events/{kind}", data.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                if answer.status != 202:
                    raise RuntimeError(f"this is not the relay: {answer.status}")
        except urllib.error.HTTPError as refusal:
            if refusal.code < 500 and refusal.code not in (408, 429):
                print(f"row {row}: {refusal.read().decode()}", file=sys.stderr, flush=True)
            return int(refusal.headers.get("Retry-After", 5))  # of what will never be taken, somebody must hear
        except OSError:
            return 1  # no answer: the same row again, with the same key
        with db:
            db.execute("DELETE FROM outbox WHERE id = ?", (row,))
    return 1


if __name__ == "__main__":
    database = sqlite3.connect("shop.db")
    while True:
        time.sleep(pump(database))
