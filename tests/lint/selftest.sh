#!/bin/bash
# selftest.sh: each lint passes a clean tree and fails on each violation planted in it.
set -uo pipefail
lint=$(cd "$(dirname "$0")" && pwd)
python=/usr/bin/python3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0 cases=0

# expect pass|fail NAME PATTERN COMMAND...: exit code and output must be as said.
expect() {
    local want=$1 name=$2 pattern=$3 got=pass out
    shift 3
    out=$("$@" 2>&1) || got=fail
    cases=$((cases + 1))
    if [ $got != "$want" ] || ! grep -q -- "$pattern" <<<"$out"; then
        echo "selftest: $name: expected $want with '$pattern', got $got:"
        echo "$out"
        bad=$((bad + 1))
    fi
}

tree() {
    rm -rf "$tmp/t"
    mkdir -p "$tmp"/t/{common/{base,mail,net,cluster},ingress/{core,shell},cmake}
    cat >"$tmp/t/CMakeLists.txt" <<'CMAKE'
pr_layer(base common/base)
pr_layer(mail common/mail base)
pr_layer(net common/net base dep_uv dep_zmq)
pr_layer(cluster common/cluster base dep_raft)
pr_layer(ingress_core ingress/core base mail)
pr_layer(ingress_shell ingress/shell ingress_core net)
pr_program(postrider-ingress ingress/main.c ingress_shell)
CMAKE
    echo '#include <string.h>' >"$tmp/t/common/base/a.h"
    echo '#include "common/base/a.h"' >"$tmp/t/common/mail/m.h"
    echo '#include <zmq.h>' >"$tmp/t/common/net/n.h"
    echo '#include <raft.h>' >"$tmp/t/common/cluster/raft_host.c"
    printf '#include "common/mail/m.h"\n#include "common/base/a.h"\n' >"$tmp/t/ingress/core/c.h"
    printf '#include <uv.h>\n#include "ingress/core/c.h"\n' >"$tmp/t/ingress/shell/s.c"
    echo '#include "common/net/n.h"' >"$tmp/t/ingress/main.c"
}

# plant LINT FILE LINE PATTERN: the clean tree plus one line must fail.
plant() {
    tree
    echo "$3" >>"$tmp/t/$2"
    expect fail "$1 $2: $3" "$4" "$python" "$lint/$1.py" --root "$tmp/t"
}

tree
expect pass "layers, clean tree" ' 0 not allowed' "$python" "$lint/layers.py" --root "$tmp/t"
expect pass "banned, clean tree" ' 0 findings' "$python" "$lint/banned.py" --root "$tmp/t"

plant layers common/mail/m.h '#include "common/net/n.h"' 'mail may not use net'
plant layers common/base/a.h '#include "common/mail/m.h"' 'base may not use mail'
plant layers ingress/core/c.h '#include <uv.h>' 'dep_uv is not for ingress_core'
plant layers ingress/core/c.h '#include <time.h>' 'not for a pure folder'
plant layers ingress/core/c.h '#include <sys/socket.h>' 'not for a pure folder'
plant layers ingress/shell/s.c '#include <zmq.h>' 'dep_zmq is not for'
plant layers ingress/main.c '#include "common/cluster/x.h"' 'may not use cluster'
plant layers common/cluster/fsm.c '#include <raft.h>' 'Raft host'
plant layers common/net/n.h '#include <rocksdb/c.h>' 'dep_rocksdb is not for net'
plant layers common/net/n.h '#include "bus.pb-c.h"' 'pr_proto is not for net'

plant banned common/net/x.c 'void f(void) { rocksdb_flush_cf(a); }' 'column family'
plant banned common/net/x.c 'int n = atoi(s);' 'strictly'
plant banned common/net/x.c 'strcpy(a, b);' 'pr_buf'
plant banned common/net/x.c 'p = malloc(n);' 'pr_malloc'
plant banned common/net/x.c '#define NDEBUG 1' 'assertions'
plant banned cmake/o.cmake 'add_compile_definitions(-DNDEBUG)' 'assertions'
plant banned common/net/x.c '/* TODO later */' 'finish it'
tree
echo '/* never strcpy or rocksdb_flush */ const char *s = "atoi";' >"$tmp/t/common/net/x.c"
expect pass "banned, words in comments and strings" ' 0 findings' "$python" "$lint/banned.py" --root "$tmp/t"

# archive NAME SOURCE
archive() {
    echo "$2" >"$tmp/$1.c"
    gcc -O1 -fno-common -c "$tmp/$1.c" -o "$tmp/$1.o" && rm -f "$tmp/b/libpr_$1.a" && ar rcs "$tmp/b/libpr_$1.a" "$tmp/$1.o"
}
symbols() { CORES=x ALLOW_DIR=$tmp/allow "$lint/core_symbols.sh" "$tmp/b"; }
clean_archives() {
    rm -rf "$tmp/b" "$tmp/allow"
    mkdir -p "$tmp/b" "$tmp/allow"
    cp "$lint/core_symbols.allow" "$tmp/allow"
    echo 'libpr_net stopping signal handler' >"$tmp/allow/mutable_state.allow"
    archive base 'int b(void) { return 1; } const char *const names[] = {"a", "b"};'
    archive mail 'void *memset(void *, int, unsigned long); void m(char *p, unsigned long n) { memset(p, 0, n); }'
    archive x_core 'int b(void); int x(void) { return b(); }'
    archive net 'int stopping;'
}
clean_archives
expect pass "symbols, clean archives" ' 0 findings' symbols
archive x_core 'int clock_gettime(int, void *); int x(void *p) { return clock_gettime(0, p); }'
expect fail "symbols, a clock in a core" 'x: clock_gettime .*x_core.o' symbols
clean_archives
archive x_core 'int b(void); int x(void) { static int calls; return b() + calls++; }'
expect fail "symbols, a static counter in a core" 'libpr_x_core: mutable state: calls' symbols
clean_archives
archive base '_Thread_local int depth; int b(void) { return depth++; }'
expect fail "symbols, thread-local state in base" 'libpr_base: mutable state: depth' symbols
clean_archives
archive net 'int stopping; int sessions = 3;'
expect fail "symbols, an object that is not listed" 'mutable object sessions' symbols

echo "selftest: $cases cases, $bad wrong"
[ "$bad" = 0 ]
