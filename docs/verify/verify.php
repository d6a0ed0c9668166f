<?php
// Verifies a delivery that is signed by "sign standard". PHP 7.4, no extension.
// usage: php verify.php <secret> <webhook-id> <webhook-timestamp> <webhook-signature> <body

// $body is file_get_contents('php://input'): as it came, before anything has parsed it.
function genuine(string $secret, string $id, string $timestamp, string $signatures, string $body): bool
{
    if (!preg_match('/^\d+$/D', $timestamp) || abs(time() - (int) $timestamp) > 300) {
        return false; // somebody may have recorded it
    }
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret), true);
    if ($key === false) {
        return false;
    }
    $right = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    // Several may stand there while a secret changes; one must be right.
    foreach (explode(' ', $signatures) as $signature) {
        if (hash_equals($right, $signature)) {
            return true;
        }
    }
    return false;
}

exit(genuine($argv[1], $argv[2], $argv[3], $argv[4], stream_get_contents(STDIN)) ? 0 : 1);
