#!/bin/sh
# Makes a release: Caddy with the relay for each platform, a bill of materials of each, the
# checksums, and the tag. Everything is built from a clone of the commit, by the versions that
# go.mod, tools/go.mod and xcaddy.sh pin; nothing is pushed.
#
#   ./release.sh v1.2.3             into dist/, then tags the commit
#   ./release.sh --dry-run          the same under a made-up version, and tags nothing; what
#                                   would refuse a release is only said
#
# Needs Go, git, tar and gzip, and for govulncheck its database, https://vuln.go.dev, or a copy
# of it at GOVULNDB.
# PLATFORMS may name others than linux/amd64 and linux/arm64.
set -eu

module=github.com/caddyrelay/caddyrelay
platforms=${PLATFORMS:-linux/amd64 linux/arm64}
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd "$root"

say() { echo "release: $*" >&2; }
fail() {
	say "$*"
	exit 1
}

# refuse: ends a release; a dry run says what it would have been ended by, and goes on.
refuse() {
	[ "$dry" = yes ] || fail "$*"
	say "(dry run) would be refused: $*"
}

commit=$(git rev-parse HEAD)
dry=no
[ $# -le 1 ] || fail "there are $# arguments; usage: ./release.sh v1.2.3, or ./release.sh --dry-run"
case ${1-} in
--dry-run)
	dry=yes
	# Its own for each commit: a version names one content for ever, in caches, too.
	version=v0.0.0-dryrun.$(git rev-parse --short=12 HEAD)
	;;
v[0-9]*) version=$1 ;;
*) fail "usage: ./release.sh v1.2.3, or ./release.sh --dry-run" ;;
esac
echo "$version" | grep -qxE 'v(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?' ||
	fail "$version is no version; write three numbers, e.g. v1.2.3, or v1.2.3-rc.1"
case $version in
v[01].*) ;;
*) fail "$version is no version of $module, whose path would have to end in /${version%%.*}" ;;
esac
number=${version#v}

# What has to be so before.
[ -z "$(git status --porcelain)" ] || refuse "there are changes that are not committed; git status shows them"
if git rev-parse -q --verify "refs/tags/$version" >/dev/null; then
	fail "the tag $version is there already; a version that somebody may have is never changed"
fi
[ "$(cat "$(git rev-parse --git-dir)/ci-passed" 2>/dev/null || :)" = "$commit" ] ||
	refuse "this commit has not passed .ci/run"
grep -qE "^## \[$number\] - [0-9]{4}-[0-9]{2}-[0-9]{2}\$" CHANGELOG.md ||
	refuse "CHANGELOG.md has no section: ## [$number] - $(date -u +%Y-%m-%d)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The tag is made in a clone, so that a release that fails leaves none. Go fetches the module
# from there as it would from where it is published, and the binaries know their version.
say "$version of $commit"
git clone -q --no-hardlinks "$root" "$work/module"
git -C "$work/module" checkout -q --detach "$commit"
git -C "$work/module" -c user.name=release -c user.email=release@localhost tag -a -m "$version" "$version"
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.$work/module.insteadOf" GIT_CONFIG_VALUE_0="https://$module"
export GOPRIVATE="$module" GOWORK=off

caddy_version=$(sed -n 's/^caddy_version=//p' xcaddy.sh)
go build -modfile=tools/go.mod -o "$work/xcaddy" github.com/caddyserver/xcaddy/cmd/xcaddy
go build -modfile=tools/go.mod -o "$work/govulncheck" golang.org/x/vuln/cmd/govulncheck
(cd tools && go build -o "$work/sbom" ./sbom)

# Archives hold no time but that of the commit, and no user: the same commit gives the same bytes.
pack() { # pack <folder> <archive>
	tar --sort=name --mtime="@$(git log -1 --format=%ct)" --owner=0 --group=0 --numeric-owner -C "$1" -cf - . | gzip -9n >"$2"
}

mkdir -p "$work/dist"
host=$(go env GOHOSTOS)/$(go env GOHOSTARCH)
for platform in $platforms; do
	os=${platform%/*} arch=${platform#*/}
	name=caddy-relay_${number}_${os}_$arch
	say "building $name: Caddy $caddy_version"
	mkdir -p "$work/$name"
	GOOS=$os GOARCH=$arch CGO_ENABLED=0 "$work/xcaddy" build "$caddy_version" \
		--with "$module@$version" --output "$work/$name/caddy" >"$work/log" 2>&1 || {
		cat "$work/log" >&2
		fail "building $name failed; the lines above say why"
	}
	go version -m "$work/$name/caddy" | grep -q "[[:space:]]$module[[:space:]]$version[[:space:]]" ||
		fail "$name does not know that it is $version"
	if [ "$platform" = "$host" ]; then
		say "$name: caddy relay demo --once"
		"$work/$name/caddy" relay demo --once >"$work/log" 2>&1 || {
			cat "$work/log" >&2
			fail "$name: the demo failed"
		}
	fi
	say "$name: govulncheck"
	"$work/govulncheck" ${GOVULNDB:+-db "$GOVULNDB"} -mode binary "$work/$name/caddy" >"$work/log" 2>&1 || {
		cat "$work/log" >&2
		refuse "govulncheck found something, or could not ask; the lines above say what"
	}
	"$work/sbom" "$work/$name/caddy" >"$work/dist/$name.cdx.json"
	cp LICENSE README.md CHANGELOG.md Caddyfile.example "$work/$name/"
	pack "$work/$name" "$work/dist/$name.tar.gz"
done
(cd "$work/dist" && sha256sum -- * >SHA256SUMS)

if [ "$dry" = yes ]; then
	ls -l "$work/dist" >&2
	cat "$work/dist/SHA256SUMS"
	say "(dry run) nothing was kept, and nothing tagged"
	exit 0
fi
rm -rf dist
mv "$work/dist" dist
git tag -a -m "$version" "$version" "$commit"
cat dist/SHA256SUMS
say "done. Look at dist/, then: git push origin $version, and publish the files in dist/"
