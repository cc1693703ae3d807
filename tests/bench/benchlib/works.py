"""What is done in a run. Each work takes (context) and adds its results to context.result."""
import re
import time

from . import SINK, SINK_PORT
from .system import read, resident
from .tools import Sink, load, smtp_source, wait_for_greeting, wait_for_messages

#: name -> sessions, octets, recipients, connections kept open, number of messages, and what it is
SATURATION = {
    "a": (100, 10240, 1, True, 20000, "10 KB, 100 sessions kept open"),
    "a1": (100, 10240, 1, False, 20000, "10 KB, a connection for each message"),
    "b": (100, 76800, 1, True, 8000, "75 KB, 100 sessions"),
    "c": (20, 2048, 1, True, 20000, "2 KB, 20 sessions"),
    "d": (100, 10240, 10, True, 8000, "10 KB, 10 recipients at one domain"),
    "s": (100, 10240, 1, True, 10000, "as a, beside 2,000 messages for a slow destination"),
}
DEFERRED = {"e": (20000, "destination down, 20,000 messages deferred, then drained"),
            "e200k": (200000, "the same with 200,000 messages")}
PACED = {"g50": (50, 1000), "g200": (200, 3000), "g500": (500, 5000)}
MILLION = 1000000
ALL = [*SATURATION, *DEFERRED, "f", *PACED, "m"]
SLOW_BACKLOG = 2000


def count_of(work, peer, options):
    """How many messages of the measured kind."""
    if options.n:
        return options.n
    scale = peer.scale if work in SATURATION or work == "e" else 1
    base = (SATURATION[work][4] if work in SATURATION else DEFERRED[work][0] if work in DEFERRED
            else PACED[work][1] if work in PACED else MILLION if work == "m" else 1000)
    return max(200, int(base * scale * options.scale))


def wants_sink(work):
    """The destination is up from the start."""
    return work not in DEFERRED and work != "m"


def saturate(c):
    sessions, size, rcpts, keep, _, _ = SATURATION[c.work]
    r = c.result
    if c.work == "s":
        r["backlog"] = load(c.peer.address, SLOW_BACKLOG, domain="slow.example")
        c.restart_measure()
    start = time.time()
    seconds, r["exit"], r["message"] = smtp_source(c.peer.address, c.n, sessions, size, rcpts, keep)
    r["accept_s"], r["accept_rate"] = seconds, c.n / seconds
    # A message with several recipients may arrive as several: recipients count.
    want, last, changed = c.n * rcpts, -1, time.time()
    while time.time() - start < c.options.limit:
        got = c.sink.counters()[1]
        if got >= want:
            break
        if got != last:
            last, changed = got, time.time()
        if time.time() - changed > 30:
            break
        time.sleep(0.01)
    messages, got, _, last_ns = c.sink.counters()
    r.update(delivered=messages, recipients=got, e2e_s=last_ns / 1e9 - start, complete=got >= want)
    r["e2e_rate"] = got / rcpts / r["e2e_s"] if r["e2e_s"] > 0 else 0
    r["bytes_accepted"] = c.n * size


def settle(c, limit, threshold=0.04):
    """Until the peer's CPU stays under threshold of a core for two seconds; the seconds it took."""
    start, quiet, before = time.time(), 0, c.cgroup.cpu_seconds()[0]
    while time.time() - start < limit:
        time.sleep(0.5)
        now = c.cgroup.cpu_seconds()[0]
        quiet = quiet + 1 if (now - before) / 0.5 < threshold else 0
        before = now
        if quiet >= 4:
            return time.time() - start - 2
    return time.time() - start


def defer_and_drain(c):
    r = c.result
    seconds, r["exit"], r["message"] = smtp_source(c.peer.address, c.n, 100, 10240, 1, True)
    r["accept_s"], r["accept_rate"] = seconds, c.n / seconds
    r["settle_s"] = settle(c, c.options.settle)
    r["queued_files"] = c.peer.queued_files()
    r["cpu_defer_per_1k"] = c.cpu_so_far() / c.n * 1000
    c.sink = Sink(f"{SINK}:{SINK_PORT}")
    start = time.time()
    c.peer.flush()
    r["complete"] = wait_for_messages(c.sink, c.n, c.options.limit * max(1, c.n // 20000))
    got, _, _, last_ns = c.sink.counters()
    r["delivered"] = got
    r["drain_s"] = last_ns / 1e9 - start if got else None
    r["drain_rate"] = got / r["drain_s"] if got else 0


def paced(c):
    rate, _ = PACED[c.work]
    c.result["client"] = load(c.peer.address, c.n, sessions=50, rate=rate)
    c.result["complete"] = wait_for_messages(c.sink, c.n, 60)
    c.result["delivered"] = c.sink.counters()[0]


def beside_slow(c):
    """A backlog for a slow destination, then 50/s for a fast one: latency of the fast."""
    r = c.result
    r["backlog"] = load(c.peer.address, SLOW_BACKLOG, sessions=20, domain="slow.example")
    before, start = c.sink.counters(1)[0], time.time()
    r["client"] = load(c.peer.address, c.n, sessions=20, rate=50)
    r["slow_rate"] = (c.sink.counters(1)[0] - before) / (time.time() - start)
    r["complete"] = wait_for_messages(c.sink, c.n, 120)
    r["delivered"] = c.sink.counters()[0]


def scheduler_rss(cgroup):
    """Resident set of the process that holds the queue."""
    sizes = [resident(p) for p in cgroup.processes() if "scheduler" in read(f"/proc/{p}/cmdline")]
    return max(sizes, default=0) / 1e6


def million(c):
    """A million messages of 2 KB deferred: memory, first page of a listing, restart to the first dispatch."""
    r = c.result
    r["client"] = load(c.peer.address, c.n, sessions=100, size=2048, timeout=3600)
    r["accept_rate"] = r["client"].get("accepted", 0) / max(r["client"].get("secs", 1), 0.001)
    r["settle_s"] = settle(c, c.options.settle)
    r["rss_scheduler_mb"] = scheduler_rss(c.cgroup)
    start = time.time()
    page = c.cgroup.run(c.peer.command("queue", "list"), capture_output=True, text=True)
    r["list_s"] = time.time() - start
    r["list_lines"] = len(page.stdout.splitlines())
    # The processes die where they stand; the destination is there when they come back.
    c.cgroup.kill_now()
    c.sink = Sink(f"{SINK}:{SINK_PORT}")
    start = time.time()
    c.peer.start()
    r["complete"] = first_message(c, start)
    r["rss_restarted_mb"] = scheduler_rss(c.cgroup)
    r["delivered"] = c.sink.counters()[0]


def first_message(c, start):
    """Restart to the first message at the sink; asks for a retry when all of it is deferred to later."""
    r = c.result
    r["greeting"] = wait_for_greeting(c.peer.address, 120)
    r["greeting_s"] = time.time() - start
    flushed = None
    while time.time() - start < 300:
        if c.sink.counters()[0] > 0:
            r["restart_to_dispatch_s"] = time.time() - (flushed or start) + (r["greeting_s"] if flushed else 0)
            return True
        if flushed is None and time.time() - start > r["greeting_s"] + 5:
            flushed = time.time()
            c.peer.flush()
        time.sleep(0.005)
    return False


def run(c):
    if c.work in SATURATION:
        saturate(c)
    elif c.work in DEFERRED:
        defer_and_drain(c)
    elif c.work in PACED:
        paced(c)
    elif c.work == "f":
        beside_slow(c)
    else:
        million(c)


def valid(work, peer):
    """`none` has no queue; only Postrider is asked for a million."""
    if peer == "none":
        return work in SATURATION and work != "s" or work in PACED
    return work != "m" or peer == "postrider"


def selected(text):
    works = [w for w in re.split(r"[,\s]+", text) if w]
    unknown = [w for w in works if w not in ALL]
    if unknown:
        raise SystemExit(f"no such work: {unknown}; there are {', '.join(ALL)}")
    return works
