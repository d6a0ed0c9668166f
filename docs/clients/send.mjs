const relay = "http://localhost:4665";

// Resolves to the id of the event once it is safe with the relay.
export async function send(type, data, key) {
  for (let attempt = 0; attempt < 10; attempt++) {
    const answer = await fetch(`${relay}/v1/events/${type}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(data),
      signal: AbortSignal.timeout(15_000),
    }).catch(() => null); // no answer: it may be stored or not, and the key makes a repeat harmless
    if (answer?.status === 202) return (await answer.json()).id;
    if (answer && answer.status < 500 && ![408, 429].includes(answer.status)) throw new Error(await answer.text());
    const seconds = Number(answer?.headers.get("Retry-After") ?? 2 ** attempt);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
  throw new Error("the relay did not take the event");
}

console.log(await send("order.paid", { order: 42 }, "order-42-paid"));
