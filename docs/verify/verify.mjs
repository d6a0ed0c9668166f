// Verifies a delivery that is signed by "sign standard". Node 18, no package.
// usage: node verify.mjs <secret> <webhook-id> <webhook-timestamp> <webhook-signature> <body
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

// body is a Buffer: the bytes as they came, before anything has parsed them.
export function genuine(secret, id, timestamp, signatures, body) {
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) return false; // somebody may have recorded it
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const right = Buffer.from("v1," + createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64"));
  // Several may stand there while a secret changes; one must be right.
  return signatures.split(" ").some((s) => {
    const sent = Buffer.from(s);
    return sent.length === right.length && timingSafeEqual(sent, right);
  });
}

const [secret, id, timestamp, signatures] = process.argv.slice(2);
process.exit(genuine(secret, id, timestamp, signatures, readFileSync(0)) ? 0 : 1);
