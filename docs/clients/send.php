<?php
const RELAY = 'http://localhost:4665';

/** Returns the id of the event once it is safe with the relay. */
function send(string $type, array $data, string $key): string
{
    $context = stream_context_create(['http' => [
        'method' => 'POST', 'content' => json_encode($data), 'timeout' => 15, 'ignore_errors' => true, 'follow_location' => 0,
        'header' => ['Content-Type: application/json', "Idempotency-Key: $key"],
    ]]);
    for ($attempt = 0; $attempt < 10; $attempt++) {
        $wait = 2 ** $attempt;
        // false means no answer: it may be stored or not, and the key makes a repeat harmless.
        if ($answer = @fopen(RELAY . "/v1/events/$type", 'r', false, $context)) {
            $header = implode("\n", stream_get_meta_data($answer)['wrapper_data']);
            $body = stream_get_contents($answer);
            $status = (int) explode(' ', $header)[1];
            if ($status === 202) {
                return json_decode($body)->id;
            }
            if ($status < 500 && $status !== 408 && $status !== 429) {
                throw new RuntimeException($body); // a repeat would not help
            }
            $wait = preg_match('/^Retry-After: *(\d+)/mi', $header, $found) ? (int) $found[1] : $wait;
        }
        sleep($wait);
    }
    throw new RuntimeException('the relay did not take the event');
}

echo send('order.paid', ['order' => 42], 'order-42-paid'), "\n";
