"""RESULTS.md from raw JSON lines: ratios against the targets, then a table for each work, median [min-max] over the runs."""
import json
import platform
import statistics
import time
from collections import defaultdict

from .system import read
from .works import ALL, DEFERRED, PACED, SATURATION

ORDER = ["none", "postfix-default", "postfix-tuned", "postrider"]


def load_lines(paths):
    out = []
    for p in paths:
        with open(p, encoding="utf-8") as f:
            out += [json.loads(line) for line in f if line.strip()]
    return out


def spread(values, digits=0):
    v = [x for x in values if x is not None]
    if not v:
        return "-"
    show = lambda x: f"{x:,.{digits}f}"
    return show(v[0]) if len(v) == 1 else f"{show(statistics.median(v))} [{show(min(v))}-{show(max(v))}]"


def group(results):
    out = defaultdict(list)
    for r in results:
        if not r.get("error"):
            out[r["work"], r["peer"]].append(r)
    return out


def per_message(r, *names):
    return sum((r.get("calls") or {}).get(n, 0) for n in names) / r["n"]


def table(lines, head, rows):
    lines.append("| " + " | ".join(head) + " |")
    lines.append("|" + "---|" * len(head))
    lines.extend("| " + " | ".join(str(c) for c in row) + " |" for row in rows)
    lines.append("")


def common_columns(v):
    return [spread([r["cpu_per_1k"] for r in v], 3),
            f"{statistics.median(r['cpu_user'] / r['n'] * 1e3 for r in v):.3f} / {statistics.median(r['cpu_sys'] / r['n'] * 1e3 for r in v):.3f}",
            spread([r["disk"]["bytes"] / r["n"] / 1024 for r in v], 1), spread([r["disk"]["flushes"] / r["n"] for r in v], 3),
            spread([per_message(r, "fsync", "fdatasync") for r in v], 3),
            f"{max(r['rss_mb'] for r in v):.0f} / {max(r['pss_mb'] for r in v):.0f}", max(r["processes"] for r in v),
            f"{100 * statistics.median(max(0, r['foreign_user']) / r['wall'] / 2 for r in v):.1f} %",
            f"{sum(bool(r.get('complete')) for r in v)}/{len(v)}"]


COMMON = ["CPU s per 1,000", "user / system", "KB written per message", "device flushes per message", "fsync per message",
          "peak RSS / PSS MB", "processes", "foreign CPU", "complete"]


def work_table(lines, work, rows):
    if work in SATURATION:
        table(lines, ["peer", "messages", "accepted/s", "end to end/s"] + COMMON,
              [[p, v[0]["n"], spread([r["accept_rate"] for r in v]), spread([r["e2e_rate"] for r in v])] + common_columns(v) for p, v in rows])
    elif work in DEFERRED:
        table(lines, ["peer", "messages", "accepted/s while down", "s until all deferred", "drained/s"] + COMMON,
              [[p, v[0]["n"], spread([r["accept_rate"] for r in v]), spread([r["settle_s"] for r in v], 1),
                spread([r["drain_rate"] for r in v])] + common_columns(v) for p, v in rows])
    elif work == "m":
        table(lines, ["peer", "messages", "accepted/s", "scheduler RSS MB", "after restart MB", "first page of queue list s",
                      "restart to first dispatch s"],
              [[p, v[0]["n"], spread([r["accept_rate"] for r in v]), spread([r["rss_scheduler_mb"] for r in v]),
                spread([r["rss_restarted_mb"] for r in v]), spread([r["list_s"] for r in v], 2),
                spread([r.get("restart_to_dispatch_s") for r in v], 2)] for p, v in rows])
    else:
        q = lambda v, k: spread([r["sink"][0]["lat_ms"][k] for r in v], 1)
        table(lines, ["peer", "delivered / sent", "p50 ms", "p90", "p99", "max", "p99 of the 250", "slow delivered/s meanwhile"] + COMMON,
              [[p, f"{v[0].get('delivered')} / {v[0]['n']}", q(v, "p50"), q(v, "p90"), q(v, "p99"), q(v, "max"),
                spread([r["client"].get("acc_ms", {}).get("p99") for r in v], 1), spread([r.get("slow_rate") for r in v], 1)]
               + common_columns(v) for p, v in rows])


def title(work):
    if work in SATURATION:
        return f"{work}: {SATURATION[work][5]}"
    if work in DEFERRED:
        return f"{work}: {DEFERRED[work][1]}"
    if work in PACED:
        return f"{work}: time in queue at {PACED[work][0]} messages/s of 10 KB"
    return {"f": "f: 50/s for a fast destination beside a backlog for a slow one",
            "m": "m: a million messages of 2 KB deferred on one node"}[work]


class Targets:
    """Each target as (what, wanted, measured, holds)."""

    def __init__(self, groups):
        self.g = groups
        self.rows = []

    def median(self, work, peer, get):
        v = [get(r) for r in self.g.get((work, peer), [])]
        v = [x for x in v if x is not None]
        return statistics.median(v) if v else None

    def ratio(self, what, wanted, a, b, at_least=None, at_most=None, digits=2):
        if a is None or b is None or b == 0:
            self.rows.append([what, wanted, "not measured", ""])
            return
        self.value(what, wanted, a / b, at_least, at_most, f"{a / b:.{digits}f} ({a:,.4g} / {b:,.4g})")

    def value(self, what, wanted, x, at_least=None, at_most=None, text=None):
        if x is None:
            self.rows.append([what, wanted, "not measured", ""])
            return
        holds = (at_least is None or x >= at_least) and (at_most is None or x <= at_most)
        self.rows.append([what, wanted, text or f"{x:,.2f}", "yes" if holds else "**no**"])

    def fill(self):
        m = self.median
        rate, cpu = (lambda r: r["e2e_rate"]), (lambda r: r["cpu_per_1k"])
        written = lambda r: r["disk"]["bytes"] / r["bytes_accepted"]
        p99 = lambda r: r["sink"][0]["lat_ms"]["p99"]
        drain = lambda r: r["drain_rate"]
        self.ratio("end to end, 10 KB, 100 sessions, against tuned Postfix", ">= 8", m("a", "postrider", rate),
                   m("a", "postfix-tuned", rate), at_least=8)
        self.ratio("the same against the tools alone", ">= 0.5", m("a", "postrider", rate), m("a", "none", rate), at_least=0.5)
        self.ratio("CPU per 1,000 messages against tuned Postfix", "<= 0.1", m("a", "postrider", cpu), m("a", "postfix-tuned", cpu),
                   at_most=0.1, digits=3)
        self.value("octets written per octet accepted (Postfix: " + self.text(m("a", "postfix-tuned", written)) + ")", "<= 1.3",
                   m("a", "postrider", written), at_most=1.3)
        for w, name in (("e200k", "200,000 deferred, drained"), ("e", "20,000 deferred, drained")):
            if (w, "postrider") in self.g or w == "e200k":
                self.ratio(f"{name}: rate against tuned Postfix", ">= 6", m(w, "postrider", drain), m(w, "postfix-tuned", drain), at_least=6)
        self.ratio("p99 of time in queue at 200/s against tuned Postfix", "<= 0.25", m("g200", "postrider", p99),
                   m("g200", "postfix-tuned", p99), at_most=0.25, digits=3)
        self.ratio("rate beside a slow destination against alone", ">= 0.95", m("s", "postrider", rate), m("a", "postrider", rate),
                   at_least=0.95)
        self.value("a million deferred: resident set of the scheduler, MB", "<= 400", m("m", "postrider", lambda r: r["rss_scheduler_mb"]),
                   at_most=400)
        self.value("a million deferred: restart to first dispatch, s", "<= 5",
                   m("m", "postrider", lambda r: r.get("restart_to_dispatch_s")), at_most=5)
        self.value("a million deferred: first page of `queue list`, s", "<= 1", m("m", "postrider", lambda r: r["list_s"]), at_most=1)
        return self.rows

    @staticmethod
    def text(x):
        return "-" if x is None else f"{x:.2f}"


def machine():
    model = next((line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")), "?")
    processors = read("/proc/cpuinfo").count("processor\t")
    memory = int(read("/proc/meminfo").split()[1]) // 1024 // 1024
    return f"{processors} x {model}, {memory} GiB, Linux {platform.release()}"


def write(path, command, files):
    results = load_lines(files)
    groups = group(results)
    lines = ["# Postrider beside Postfix", "",
             f"`{command}`  ", f"{time.strftime('%Y-%m-%d', time.gmtime(max(r['when'] for r in results)))}, {machine()}, queues on "
             f"{', '.join(sorted({r['fs'] for r in results}))}. Written by `tests/bench/run.sh` from the raw lines in "
             "`tests/bench/results.jsonl`.", "",
             "The processors are shared by client, MTA and sink: ratios within one run mean something, single rates do not. "
             "Figures are the median over runs that alternate between the peers, with minimum and maximum.", "", "## Targets", ""]
    table(lines, ["what", "wanted", "measured", "holds"], Targets(groups).fill())
    for work in ALL:
        rows = [(p, groups[work, p]) for p in ORDER if (work, p) in groups]
        if rows:
            lines += [f"## {title(work)}", ""]
            work_table(lines, work, rows)
    probes = [r["disk_probe"] for r in results if r.get("disk_probe")]
    if probes:
        lines += [f"Disk before each run (4 processes, create + 10 KB + fsync): {spread([p['rate'] for p in probes])} files/s, p50 "
                  f"{spread([p['p50_ms'] for p in probes], 2)} ms, p99 {spread([p['p99_ms'] for p in probes], 1)} ms.", ""]
    odd = [f"{r['peer']} {r['work']}: {r['late']} of {r['n']}" for r in results
           if r.get("late") is not None and r["work"] in ("a", "a1", "b", "c", "e", "e200k") and r["late"] != r["n"]]
    lines += ["Runs in which the sink counted other than was sent: " + ("; ".join(odd) if odd else "none") + ".", ""]
    failed = [f"{r['peer']} {r['work']}: {r['error']}" for r in results if r.get("error")]
    if failed:
        lines += ["Runs that failed: " + "; ".join(failed) + ".", ""]
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines))
