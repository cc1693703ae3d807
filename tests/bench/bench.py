#!/usr/bin/python3
"""bench.py: the runs, one after the other; started by run.sh inside its namespaces. See README.md."""
import argparse
import json
import os
import time
import traceback

from benchlib import BENCH, FS, HERE, SINK, SINK_PORT, SLOW_SINK, report, works
from benchlib.peers import PEERS
from benchlib.system import Cgroup, Measure, cpu_probe, disk_probe, lock, sh
from benchlib.tools import Sink, wait_for_greeting


class Context:
    """One run of one work at one peer."""

    def __init__(self, cgroup, options, work, name):
        self.cgroup, self.options, self.work = cgroup, options, work
        self.peer = PEERS[name](cgroup, options)
        self.n = works.count_of(work, self.peer, options)
        self.sink = self.measure = None
        self.result = {"peer": name, "work": work, "fs": FS, "n": self.n, "when": time.time()}

    def restart_measure(self):
        if self.measure:
            self.measure.end(self.sink, 1)
        self.measure = Measure(self.cgroup, self.sink, self.options.perf)

    def cpu_so_far(self):
        return self.cgroup.cpu_seconds()[0] - self.measure.before[0][0]

    def run(self):
        r = self.result
        self.cgroup.kill()
        self.peer.wipe()
        if works.wants_sink(self.work):
            self.sink = Sink(f"{SINK}:{SINK_PORT}", f"{SLOW_SINK}:{SINK_PORT}:{self.options.slow_ms}")
        self.peer.start()
        try:
            if not wait_for_greeting(self.peer.address):
                r["error"] = "no 220 greeting"
                return
            sh("sync")
            r["disk_probe"], r["cpu_probe"] = disk_probe(), cpu_probe()
            self.restart_measure()
            works.run(self)
            r.update(self.measure.end(self.sink, self.n))
            time.sleep(1)  # late duplicates, the queue cleaned
            r["late"] = self.sink.counters()[0] if self.sink else None
            r["left"] = self.peer.queued_files()
        finally:
            r["sink"] = self.sink.end() if self.sink else None
            self.peer.stop()
            self.cgroup.kill()


def summary(r):
    show = lambda k, d=1: f"{k}={r[k]:.{d}f} " if isinstance(r.get(k), (int, float)) and not isinstance(r[k], bool) else ""
    latency = r["sink"][0]["lat_ms"] if r.get("sink") and r["sink"][0]["nlat"] else ""
    return (f"{r['peer']:14} {r['work']:6} n={r['n']} " + show("accept_rate") + show("e2e_rate") + show("drain_rate") + show("settle_s")
            + show("cpu_per_1k", 3) + show("rss_mb", 0) + show("rss_scheduler_mb", 0) + show("list_s", 2) + show("restart_to_dispatch_s", 2)
            + (f"KB/msg={r['disk']['bytes'] / r['n'] / 1024:.1f} fsync/msg={report.per_message(r, 'fsync', 'fdatasync'):.3f} " if "disk" in r else "")
            + f"complete={r.get('complete')} {latency or ''} " + show("foreign_user") + (r.get("error") or ""))


def main():
    p = argparse.ArgumentParser(prog="run.sh")
    p.add_argument("--works", default="a,e,g200,f,s", help="of " + ", ".join(works.ALL))
    p.add_argument("--peers", default="postfix-tuned,none,postrider", help="of " + ", ".join(PEERS))
    p.add_argument("--reps", type=int, default=3)
    p.add_argument("--n", type=int, default=0, help="messages, instead of each work's own number")
    p.add_argument("--scale", type=float, default=1, help="factor on the number of messages")
    p.add_argument("--limit", type=float, default=240, help="seconds to wait for 20,000 deliveries")
    p.add_argument("--settle", type=float, default=120, help="seconds to wait for a queue to come to rest")
    p.add_argument("--slow-ms", type=int, default=2000, help="delay of the slow destination")
    p.add_argument("--perf", action=argparse.BooleanOptionalAction, default=True, help="count system calls")
    p.add_argument("--postrider", default=os.environ.get("BENCH_POSTRIDER", "postrider"), help="the program")
    p.add_argument("--config", default=os.path.join(HERE, "postrider.yaml"))
    p.add_argument("--out", default=os.path.join(HERE, "results.jsonl"), help="raw results, appended")
    p.add_argument("--fresh", action="store_true", help="forget earlier raw results")
    p.add_argument("--report", default=os.path.join(HERE, "RESULTS.md"))
    options = p.parse_args()
    names = options.peers.split(",")
    chosen = works.selected(options.works)
    if options.fresh and os.path.exists(options.out):
        os.unlink(options.out)
    cgroup = Cgroup()
    for rep in range(options.reps):
        for work in chosen:
            if work in ("e200k", "m") and rep > 0:
                continue  # long, and steady
            for name in names:
                if not works.valid(work, name):
                    continue
                held = lock()
                context = Context(cgroup, options, work, name)
                try:
                    context.run()
                except Exception as e:
                    traceback.print_exc()
                    context.result["error"] = repr(e)
                    cgroup.kill()
                held.close()
                context.result["rep"] = rep
                with open(options.out, "a", encoding="utf-8") as f:
                    f.write(json.dumps(context.result) + "\n")
                print(summary(context.result), flush=True)
    command = f"tests/bench/run.sh --works {options.works} --peers {options.peers} --reps {options.reps}"
    report.write(options.report, command, [options.out])
    print(f"{options.report} written; raw lines in {options.out}, logs under {BENCH}/run")


if __name__ == "__main__":
    main()
