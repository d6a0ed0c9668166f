"""Verifies a delivery that is signed by "sign standard". Python 3.8, no library.

usage: verify.py <secret> <webhook-id> <webhook-timestamp> <webhook-signature> <body
"""

import base64, hashlib, hmac, sys, time


def genuine(secret, id, timestamp, signatures, body):
    """body is bytes, as they came, before anything has parsed them."""
    if not timestamp.isascii() or not timestamp.isdigit() or abs(time.time() - int(timestamp)) > 300:
        return False  # somebody may have recorded it
    key = base64.b64decode(secret[len("whsec_") :] if secret.startswith("whsec_") else secret)
    signed = f"{id}.{timestamp}.".encode() + body
    right = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    # Several may stand there while a secret changes; one must be right.
    return any(hmac.compare_digest(right, s.encode()) for s in signatures.split())


if __name__ == "__main__":
    sys.exit(0 if genuine(*sys.argv[1:5], sys.stdin.buffer.read()) else 1)
