#!/bin/bash
# quickstart.sh [--once] [--keep] [OPTIONS OF postrider dev]
# From a fresh Debian to mail on its way, in one command: installs the packages that the build needs (the only step that
# uses sudo, and only when something is missing), builds into build/release, starts `postrider dev`: scheduler, ingress,
# deliverer and a sink that catches all mail, on loopback, with temporary data. Sends a message through and shows each step.
# --once stops after that; the exit code is 0 only if the message has arrived in the sink.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${1:-} in
-h | --help) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
esac

"$top/deploy/install-deps.sh" build

# The presets live beside CMakeLists.txt, wherever we were called from.
cd "$top"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "quickstart: building (the first time takes a few minutes)" >&2
if ! { cmake --preset release && cmake --build --preset release --target \
    postrider postrider-scheduler postrider-ingress postrider-deliverer; } >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "quickstart: the build failed" >&2
    exit 1
fi
rm -f "$log"
trap - EXIT
cd - >/dev/null
exec "$top/build/release/bin/postrider" dev "$@"
