#!/bin/sh
# Builds ./caddy, Caddy with this checkout of the relay, by the xcaddy that tools/go.mod
# pins. With arguments: builds if something changed since, then runs ./caddy with them.
#
#   ./xcaddy.sh                   build
#   ./xcaddy.sh relay demo        build if need be, then: ./caddy relay demo
set -eu

caddy_version=v2.11.9
module=github.com/caddyrelay/caddyrelay

# The caller's directory stays the working directory of what is run.
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
caddy=$root/caddy

# stale: there is no binary, or something that may go into it is newer.
stale() {
	[ -x "$caddy" ] || return 0
	[ -n "$(find "$root" \( -name .git -o -name testdata \) -prune -o \
		-type f ! -name '*_test.go' ! -path "$caddy" -newer "$caddy" -print | head -n 1)" ]
}

build() {
	echo "building ./caddy: Caddy $caddy_version with this checkout (the first time takes some minutes)" >&2
	# xcaddy says much that only matters when it fails.
	log=$(mktemp)
	trap 'rm -f "$log" "$log.start"' EXIT
	touch "$log.start"
	if ! (cd "$root" && go tool -modfile=tools/go.mod xcaddy build "$caddy_version" \
		--with "$module@v0.0.0=$root" --output "$caddy.new") >"$log" 2>&1; then
		cat "$log" >&2
		rm -f "$caddy.new"
		echo "building ./caddy failed; the lines above say why" >&2
		exit 1
	fi
	touch -r "$log.start" "$caddy.new" # what was edited during the build is newer
	mv "$caddy.new" "$caddy"
}

if [ $# -eq 0 ]; then
	build
	echo "built $caddy" >&2
	exit 0
fi
if stale; then
	build
fi
exec "$caddy" "$@"
