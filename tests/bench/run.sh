#!/bin/bash
# run.sh [--works a,e,g200,f] [--peers postfix-tuned,none,postrider] [--reps 3] [--n N] [--fs loop|root|tmpfs] [--out FILE]
# Measures Postrider beside tuned Postfix and beside no MTA at all, run by run in turn, and writes RESULTS.md. Needs root:
# everything happens in a network namespace with only lo (nothing can leave, DNS fails at once) and a mount namespace with the
# queues on a file system of their own. All it writes is under $BENCH (default /var/tmp/postrider-bench).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export BENCH=${BENCH:-/var/tmp/postrider-bench} BENCH_FS=loop
export PEERBENCH=$BENCH # what postrider.yaml reads
args=()
while [ $# -gt 0 ]; do
    case $1 in
    --fs) BENCH_FS=$2; shift 2 ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exec /usr/bin/python3 "$here/bench.py" --help ;;
    *) args+=("$1"); shift ;;
    esac
done
[ "$(id -u)" = 0 ] || { echo "run.sh: needs root (namespaces, a loop device, control groups)" >&2; exit 1; }

"$root/deploy/install-deps.sh" bench
mkdir -p "$BENCH"/{bin,run,out,mnt,rootspool}
if [ "${BENCH_BUILD:-1}" = 1 ]; then
    (cd "$root" && cmake --preset release >/dev/null && cmake --build build/release -j "$(nproc)" -- --quiet)
fi
export BENCH_POSTRIDER=${BENCH_POSTRIDER:-$root/build/release/bin/postrider}
for tool in bench_sink bench_load fsync_probe; do
    gcc -std=c17 -D_GNU_SOURCE -O2 -I"$root" -o "$BENCH/bin/$tool" "$here/$tool.c" \
        "$root"/common/base/{alloc,buf,err,slice}.c
done

# shellcheck disable=SC2016
exec unshare -n -m --propagation private bash -c '
set -e
ip link set lo up
printf "127.0.0.1 localhost relay.bench.example\n127.0.0.2 sink.bench.example\n127.0.0.3 slowsink.bench.example\n" \
    >"$BENCH/run/hosts"
mount --bind "$BENCH/run/hosts" /etc/hosts
printf "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n" >"$BENCH/run/resolv.conf"
mount --bind "$BENCH/run/resolv.conf" "$(readlink -f /etc/resolv.conf)"
case $BENCH_FS in
loop)
    [ -e "$BENCH/loop.img" ] || { truncate -s 24G "$BENCH/loop.img"; mkfs.ext4 -q -F "$BENCH/loop.img"; }
    mount -o loop,noatime "$BENCH/loop.img" "$BENCH/mnt"
    BENCH_DEV=$(findmnt -no SOURCE "$BENCH/mnt" | sed "s,/dev/,,")
    losetup --direct-io=on "/dev/$BENCH_DEV" || true
    ;;
root)
    mount --bind "$BENCH/rootspool" "$BENCH/mnt"
    BENCH_DEV=$(lsblk -no pkname,kname "$(findmnt -no SOURCE -T "$BENCH" | sed "s/\[.*//")" | awk "{print \$NF}" | head -1)
    ;;
tmpfs)
    mount -t tmpfs -o size=8G tmpfs "$BENCH/mnt"
    BENCH_DEV=
    ;;
esac
export BENCH_DEV
chmod 755 "$BENCH/mnt"
ulimit -n "$(ulimit -Hn)"
rc=0
/usr/bin/python3 "$0" "$@" || rc=$?
umount "$BENCH/mnt" 2>/dev/null || true
exit $rc
' "$here/bench.py" "${args[@]}"
