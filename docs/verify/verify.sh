#!/bin/sh
# Verifies a delivery that is signed by "sign standard". Needs openssl 1.1 or later.
# usage: verify.sh <secret> <webhook-id> <webhook-timestamp> <webhook-signature> <body
set -eu
secret=$1 id=$2 time=$3 signatures=$4

case $time in '' | *[!0-9]*) exit 1 ;; esac
age=$(($(date +%s) - time))
[ "$age" -le 300 ] && [ "$age" -ge -300 ] || exit 1 # somebody may have recorded it

key=$(printf %s "${secret#whsec_}" | base64 -d | od -An -v -tx1 | tr -d ' \n')
right=$({ printf '%s.%s.' "$id" "$time" && cat; } |
	openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64 | tr -d '\n')

# Several may stand there while a secret changes; one must be right.
for signature in $signatures; do
	[ "$signature" != "v1,$right" ] || exit 0
done
exit 1
