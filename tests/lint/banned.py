#!/usr/bin/python3
"""banned.py [--root DIR]: fails on words that must not appear, each with its reason and where it holds."""
import argparse
import os
import re
import sys

CODE = (".c", ".h")
# pattern, files it is looked for in (suffixes), folders ("" = all), reason. Comments and strings of C do not count.
WORDS = [
    (r"\brocksdb_flush(_cfs?)?\b", CODE, "", "flushes one column family and breaks atomicity: take a checkpoint"),
    (r"\b(strtok(_r)?|strsep)\b", CODE, "", "parse with pr_slice_cut"),
    (r"\b(atoi|atol|atoll|atof|strto(l|ll|ul|ull))\b", CODE, "", "parse strictly: pr_parse_u64"),
    (r"\b(sscanf|scanf|fscanf)\b", CODE, "", "parse with slices"),
    (r"\b(strcpy|strcat|stpcpy|strncpy|strncat|v?sprintf|gets)\b", CODE, "", "build bytes with pr_buf"),
    (r"\b(strcasecmp|strncasecmp|tolower|toupper|isalpha|isalnum|isdigit|isspace|isupper|islower)\b", CODE, "",
     "depends on the locale: pr_slice_ieq, pr_lower, pr_is_*"),
    (r"\b(rand|srand|random|drand48)\s*\(", CODE, "", "pr_rng, or pr_random_bytes for secrets"),
    (r"\balloca\b", CODE, "", "the stack is not sized by input"),
    (r"\b(malloc|calloc|realloc|strdup|strndup)\s*\(", CODE, "common ingress scheduler deliverer",
     "the allocator is pr_malloc and friends"),
    (r"#\s*define\s+NDEBUG\b", CODE, "", "assertions are part of the program"),
    (r"[-/]DNDEBUG\b", (".txt", ".cmake", ".json", ".sh"), "", "assertions are part of the program"),
    (r"\btime\.sleep\b", (".py",), "tests/e2e", "wait on a condition with a deadline (harness.wait)"),
]
# Words looked for in whole files, comments included.
NOTES = [(r"\b(TODO|FIXME|XXX|HACK)\b", CODE + (".py", ".sh", ".txt", ".cmake", ".proto", ".md", ".yaml"),
          "finish it, or write it down where people look")]
# path -> patterns' words that are right there, with the reason.
EXCEPTIONS = {
    "common/base/alloc.c": {"malloc": "the allocator itself", "calloc": "", "realloc": ""},
    "CMakeLists.txt": {"-DNDEBUG": "strips it from CMake's own flags"},
    "tests/e2e/harness/wait.py": {"time.sleep": "the poll of wait_until"},
    # These two hold the words they look for.
    "tests/lint/banned.py": None,
    "tests/lint/selftest.sh": None,
}
TOPS = ["common", "ingress", "scheduler", "deliverer", "deploy", "proto", "tests", "cmake", ".ci"]
STRIP = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(m):
    return re.sub(r"[^\n]", " ", m[0])


def files(root):
    for name in sorted(os.listdir(root)):
        if os.path.isfile(os.path.join(root, name)):
            yield name
    for top in TOPS:
        for folder, dirs, names in os.walk(os.path.join(root, top)):
            dirs[:] = sorted(d for d in dirs if d not in ("__pycache__", "corpus", "out"))
            for n in sorted(names):
                yield os.path.relpath(os.path.join(folder, n), root)


def findings(path, text):
    if path in EXCEPTIONS and EXCEPTIONS[path] is None:
        return
    code = STRIP.sub(blank, text) if path.endswith(CODE) else text
    for pattern, suffixes, folders, reason in WORDS:
        inside = not folders or any(path.startswith(f + "/") for f in folders.split())
        if path.endswith(suffixes) and inside:
            for m in re.finditer(pattern, code):
                yield m, reason
    for pattern, suffixes, reason in NOTES:
        if path.endswith(suffixes):
            for m in re.finditer(pattern, text):
                yield m, reason


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    root = os.path.abspath(p.parse_args().root)
    bad = seen = 0
    for path in files(root):
        try:
            with open(os.path.join(root, path), encoding="utf-8") as f:
                text = f.read()
        except UnicodeDecodeError:
            continue
        seen += 1
        for m, reason in findings(path, text):
            word = m[0].strip(" (")
            if any(word == w or w in word for w in EXCEPTIONS.get(path, {})):
                continue
            bad += 1
            print(f"{path}:{text.count(chr(10), 0, m.start()) + 1}: {word}: {reason}")
    print(f"banned: {seen} files, {bad} findings")
    sys.exit(1 if bad or not seen else 0)


main()
