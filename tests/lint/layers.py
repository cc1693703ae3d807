#!/usr/bin/python3
"""layers.py [--root DIR]: fails on an #include that the layer table does not allow.

The table is the pr_layer and pr_program lines of CMakeLists.txt (and of the folders it adds): a folder includes its own
headers, those of the layers it names, and those of the libraries it names. base is open to all. On top of that:
  - a daemon's shell and main see the loop and JSON, which common/net and common/http are made of; any other library
    only where its own line names it;
  - raft.h appears only in the files listed here;
  - base, mail and the cores include only the headers of the C library that hold no clock, socket, thread or luck.
"""
import argparse
import os
import re
import sys

# How a library's headers are spelled: dep_NAME or pr_proto -> pattern of the include.
LIBRARY_HEADERS = {
    "dep_uv": r"uv\.h|uv/.*",
    "dep_zmq": r"zmq\.h|zmq_utils\.h",
    "dep_rocksdb": r"rocksdb/.*",
    "dep_raft": r"raft\.h|raft/.*",
    "dep_openssl": r"openssl/.*",
    "dep_cares": r"ares\.h|ares_.*\.h",
    "dep_yaml": r"yaml\.h",
    "dep_microhttpd": r"microhttpd\.h",
    "dep_jansson": r"jansson\.h",
    "dep_pcre2": r"pcre2\.h",
    "dep_idn2": r"idn2\.h",
    "dep_curl": r"curl/.*",
    "dep_protobufc": r"protobuf-c/.*",
    "dep_cmocka": r"cmocka\.h",
    "pr_proto": r".*\.pb-c\.h",
}
# The shells turn libuv callbacks into events and write the JSON of the admin API.
SHELL_LIBRARIES = {"dep_uv", "dep_jansson"}
# Files that may see libraft: the host, and the header its parts share.
RAFT_FILES = re.compile(r"common/cluster/raft_\w+\.[ch]")
# For base, mail and the cores (their symbols are checked as well: core_symbols.sh).
PURE_HEADERS = {
    "assert.h", "inttypes.h", "limits.h", "stdalign.h", "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h",
    "stdio.h", "stdlib.h", "string.h", "netinet/in.h", "emmintrin.h",
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


class Table:
    def __init__(self, root):
        self.folders = {}  # folder -> (name, [dependencies])
        self.names = {}    # name -> folder
        for path in ["CMakeLists.txt", "deploy/CMakeLists.txt"]:
            full = os.path.join(root, path)
            if os.path.exists(full):
                with open(full, encoding="utf-8") as f:
                    self.read(re.sub(r"#.*", "", f.read()), os.path.dirname(path))
        if not self.folders:
            sys.exit("layers: no pr_layer line found")

    def read(self, text, base):
        for words in re.findall(r"\bpr_layer\(([^)]*)\)", text):
            name, folder, *deps = words.split()
            self.folders[folder] = (name, deps)
            self.names[name] = folder
        # A program's main file lives in its folder and uses what the line names, and what those name.
        for words in re.findall(r"\bpr_program\(([^)]*)\)", text):
            name, main, *deps = words.split()
            folder = os.path.dirname(main) or base
            known = self.folders.get(folder, (name, []))
            self.folders[folder] = (name, sorted(set(known[1]) | set(self.closure(deps))))

    def closure(self, deps):
        out = set()
        for d in deps:
            out.add(d)
            if d in self.names:
                out |= set(self.folders[self.names[d]][1])
        return out

    def folder_of(self, path):
        folder = os.path.dirname(path)
        while folder and folder not in self.folders:
            folder = os.path.dirname(folder)
        return folder


def is_pure(name):
    return name in ("base", "mail") or name.endswith("_core")


def is_program(name):
    return name.startswith("postrider")


def check_library(path, name, deps, header):
    for dep, pattern in LIBRARY_HEADERS.items():
        if not re.fullmatch(pattern, header):
            continue
        allowed = dep in deps and not is_program(name)
        if dep in SHELL_LIBRARIES and (name.endswith("_shell") or is_program(name)):
            allowed = True
        if dep == "dep_protobufc" and "pr_proto" in deps:
            allowed = True
        if not allowed:
            return f"{dep} is not for {name}"
        if dep == "dep_raft" and not RAFT_FILES.fullmatch(path):
            return "raft.h stays in the Raft host (common/cluster/raft_*.[ch])"
        return None
    return False  # not a library we know


def check_include(table, path, quote, header):
    folder = table.folder_of(path)
    if not folder:
        return None
    name, deps = table.folders[folder]
    library = check_library(path, name, deps, header)
    if library is not False:
        return library
    if quote == "<":
        if is_pure(name) and header not in PURE_HEADERS:
            return f"<{header}> is not for a pure folder"
        return None
    if "/" not in header:
        return "project headers are named by their path from the root"
    target = table.folder_of(header)
    if not target:
        return "not in a folder of the layer table"
    other = table.folders[target][0]
    if target == folder or other == "base" or other in deps:
        return None
    return f"{name} may not use {other}"


def sources(root, table):
    tops = sorted({f.split("/")[0] for f in table.folders})
    for top in tops:
        for folder, dirs, files in os.walk(os.path.join(root, top)):
            dirs.sort()
            for f in sorted(files):
                if f.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, f), root)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    root = os.path.abspath(p.parse_args().root)
    table = Table(root)
    bad = edges = 0
    for path in sources(root, table):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            text = f.read()
        for m in INCLUDE.finditer(text):
            edges += 1
            why = check_include(table, path, m[1], m[2])
            if why:
                bad += 1
                print(f'{path}:{text.count(chr(10), 0, m.start()) + 1}: #include "{m[2]}": {why}')
    print(f"layers: {edges} includes, {bad} not allowed")
    sys.exit(1 if bad or not edges else 0)


main()
