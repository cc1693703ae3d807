"""Parts of the benchmark: system (what is measured), peers (what is measured at), tools (clients and sinks), works (what is
done), report (RESULTS.md)."""
import os

BENCH = os.environ["BENCH"]
MNT = os.path.join(BENCH, "mnt")
BIN = os.path.join(BENCH, "bin")
RUN = os.path.join(BENCH, "run")
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FS = os.environ.get("BENCH_FS", "?")
DEVICE = os.environ.get("BENCH_DEV", "")

SINK, SLOW_SINK, SINK_PORT = "127.0.0.2", "127.0.0.3", 2525
