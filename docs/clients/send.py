import json, time, urllib.error, urllib.request

RELAY = "http://localhost:4665"


def send(kind, data, key):
    """Returns the id of the event once it is safe with the relay."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    request = urllib.request.Request(f"{RELAY}/v1/events/{kind}", json.dumps(data).encode(), headers)
    for attempt in range(10):
        wait = 2**attempt
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                if answer.status == 202:
                    return json.load(answer)["id"]
                raise RuntimeError(f"this is not the relay: {answer.status}")
        except urllib.error.HTTPError as refusal:
            if refusal.code < 500 and refusal.code not in (408, 429):
                raise RuntimeError(refusal.read().decode())  # a repeat would not help
            wait = int(refusal.headers.get("Retry-After", wait))
        except OSError:
            pass  # no answer: it may be stored or not, and the key makes a repeat harmless
        time.sleep(wait)
    raise TimeoutError("the relay did not take the event")


if __name__ == "__main__":
    print(send("order.paid", {"order": 42}, "order-42-paid"))
