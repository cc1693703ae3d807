# Debian packages only; deploy/install-deps.sh installs them. Each becomes an interface target dep_NAME.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(pr_dependency name spec)
    pkg_check_modules(${name} REQUIRED IMPORTED_TARGET "${spec}")
    add_library(dep_${name} INTERFACE)
    target_link_libraries(dep_${name} INTERFACE PkgConfig::${name} Threads::Threads)
endfunction()

pr_dependency(uv libuv)
pr_dependency(zmq libzmq)
pr_dependency(protobufc libprotobuf-c)
pr_dependency(rocksdb rocksdb)
# 0.15 (Debian 12 main) can lose committed entries: bookworm-backports has 0.22.
pr_dependency(raft "raft >= 0.22.0")
pr_dependency(openssl openssl)
pr_dependency(cares libcares)
pr_dependency(yaml yaml-0.1)
pr_dependency(microhttpd libmicrohttpd)
pr_dependency(jansson jansson)
pr_dependency(pcre2 libpcre2-8)
pr_dependency(idn2 libidn2)
pr_dependency(cmocka cmocka)
