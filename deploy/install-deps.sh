#!/bin/bash
# install-deps.sh [runtime|build|test|bench|all]...   (default: build)
# Installs the Debian packages Postrider needs. Sets include the ones before them where they must:
#   runtime  shared libraries of the four programs
#   build    compiler, CMake and the libraries' headers
#   test     build, and what tests/run.sh uses
#   bench    test, and what tests/bench/run.sh uses
#   all      everything
# Quiet, idempotent, and quick when nothing is missing. Starts no service. Uses sudo when not root.
set -euo pipefail

RAFT_MIN=0.22.1 # Debian 12's own 0.15 can lose committed entries; bookworm-backports has 0.22

RUNTIME_12="libuv1 libzmq5 libprotobuf-c1 librocksdb7.8 libssl3 libc-ares2 libyaml-0-2 libmicrohttpd12 libjansson4
 libpcre2-8-0 libidn2-0 libraft0 ca-certificates"
BUILD="gcc libc6-dev cmake ninja-build pkg-config protobuf-c-compiler libuv1-dev libzmq3-dev libprotobuf-c-dev
 librocksdb-dev libssl-dev libc-ares-dev libyaml-dev libmicrohttpd-dev libjansson-dev libpcre2-dev libidn2-dev libraft-dev
 libcmocka-dev ca-certificates"
TEST="clang llvm binutils python3 python3-pytest python3-pytest-xdist python3-dnslib python3-aiosmtpd
 python3-yaml python3-jsonschema swaks postfix prometheus openssl curl jq iproute2 procps"
BENCH="rsyslog linux-perf e2fsprogs util-linux"

say() { echo "install-deps: $*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

release=0
if [ -r /etc/os-release ]; then
    # shellcheck disable=SC1091
    release=$(. /etc/os-release; [ "${ID:-}" = debian ] && echo "${VERSION_ID:-0}" || echo 0)
fi
case $release in
12) TEST="$TEST libclang-rt-14-dev" RUNTIME=$RUNTIME_12 ;;
# Later releases name the shared libraries differently: the -dev packages bring the right ones.
13) TEST="$TEST libclang-rt-19-dev" RUNTIME=$BUILD ;;
*) die "this is not Debian 12 (or 13). Install by hand the packages named in this script: libraft >= $RAFT_MIN is the" \
       "one that other systems lack." ;;
esac

packages=
for set in "${@:-build}"; do
    case $set in
    runtime) packages="$packages $RUNTIME" ;;
    build) packages="$packages $BUILD" ;;
    test) packages="$packages $BUILD $TEST" ;;
    bench) packages="$packages $BUILD $TEST $BENCH" ;;
    all) packages="$packages $RUNTIME $BUILD $TEST $BENCH" ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown set '$set': runtime, build, test, bench or all" ;;
    esac
done

# Packages of the arguments that are missing, or a libraft that is too old.
missing() {
    local name version
    declare -A have=()
    while read -r name version; do
        [ -z "$name" ] || have[$name]=$version
    done <<<"$(dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Version}\n' "$@" 2>/dev/null | sed -n 's/^ii *//p')"
    for name in "$@"; do
        version=${have[$name]:-}
        case $name in
        libraft*) [ -n "$version" ] && dpkg --compare-versions "$version" ge $RAFT_MIN || echo "$name" ;;
        *) [ -n "$version" ] || echo "$name" ;;
        esac
    done
}

# shellcheck disable=SC2086
wanted=$(missing $packages | sort -u)
[ -z "$wanted" ] && exit 0

[ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "missing packages, and neither root nor sudo:" $wanted
say "installing" $wanted

if [ "$release" = 12 ] && ! apt-get indextargets --format '$(RELEASE)' | grep -x bookworm-backports >/dev/null; then
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    say "adding bookworm-backports to the package sources (for libraft)"
    echo "deb [signed-by=$key] http://deb.debian.org/debian bookworm-backports main" |
        as_root tee /etc/apt/sources.list.d/bookworm-backports.list >/dev/null
fi

# Postfix and Prometheus would start when they are installed; a policy that is there already is the owner's.
guard=/usr/sbin/policy-rc.d made_guard=
log=$(mktemp)
cleanup() {
    [ -z "$made_guard" ] || as_root rm -f $guard
    rm -f "$log"
}
trap cleanup EXIT
if ! [ -e $guard ]; then
    made_guard=1
    printf '#!/bin/sh\nexit 101\n' | as_root tee $guard >/dev/null
    as_root chmod 755 $guard
fi

# shellcheck disable=SC2086
quietly() {
    as_root env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 && return
    cat "$log" >&2
    die "failed: $*"
}

# A third-party source that is down must not stop us: the install decides.
as_root apt-get update -qq >"$log" 2>&1 || say "apt-get update had errors: $(grep -m1 '^[EW]:' "$log" || true)"
raft=$(echo "$wanted" | grep '^libraft' || true)
rest=$(echo "$wanted" | grep -v '^libraft' || true)
apt="apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300"
# shellcheck disable=SC2086
[ -z "$rest" ] || quietly $apt $rest
if [ -n "$raft" ]; then
    # shellcheck disable=SC2086
    if [ "$release" = 12 ]; then quietly $apt -t bookworm-backports $raft; else quietly $apt $raft; fi
fi

# shellcheck disable=SC2086
wanted=$(missing $packages | sort -u)
[ -z "$wanted" ] || die "still missing, or libraft older than $RAFT_MIN:" $wanted
say "done"
