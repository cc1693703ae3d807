"""The load generators and the sink."""
import json
import mmap
import os
import socket
import struct
import subprocess
import time

from . import BIN, RUN


class Sink:
    """bench_sink with the given listeners (ADDRESS:PORT[:DELAY_MS]); counters are read while it runs."""

    def __init__(self, *listeners):
        self.status, self.result = f"{RUN}/sink.status", f"{RUN}/sink.json"
        for f in (self.status, self.result):
            if os.path.exists(f):
                os.unlink(f)
        self.process = subprocess.Popen([f"{BIN}/bench_sink", self.status, self.result, *listeners])
        host, port = listeners[0].split(":")[:2]
        end = time.time() + 10
        while time.time() < end:
            try:
                socket.create_connection((host, int(port)), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        self.file = open(self.status, "rb")
        self.map = mmap.mmap(self.file.fileno(), 4096, prot=mmap.PROT_READ)

    def counters(self, i=0):
        """(messages, recipients, open connections, time of the last message in ns)"""
        return struct.unpack_from("4Q", self.map, i * 32)

    def end(self):
        self.process.terminate()
        self.process.wait()
        with open(self.result, encoding="ascii") as f:
            return json.load(f)


def wait_for_greeting(address, seconds=30):
    end = time.time() + seconds
    while time.time() < end:
        try:
            with socket.create_connection(address, 1) as s:
                s.settimeout(5)
                if s.recv(200).startswith(b"220"):
                    s.sendall(b"QUIT\r\n")
                    return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def wait_for_messages(sink, n, limit, listener=0, quiet=25):
    """Until the sink has n messages; gives up after limit seconds, or quiet seconds without progress."""
    start = last_time = time.time()
    last = -1
    while time.time() - start < limit:
        got = sink.counters(listener)[0]
        if got >= n:
            return True
        if got != last:
            last, last_time = got, time.time()
        if time.time() - last_time > quiet:
            return False
        time.sleep(0.01)
    return False


def load(address, n, sessions=100, size=10240, rcpts=1, rate=0, per_connection=0, domain="dest.example", timeout=None):
    """bench_load; its JSON."""
    r = subprocess.run([f"{BIN}/bench_load", address[0], str(address[1]), str(sessions), str(n), str(size), str(rcpts), str(rate),
                        str(per_connection), domain], capture_output=True, text=True, timeout=timeout)
    try:
        return json.loads(r.stdout)
    except ValueError:
        return {"error": r.stderr[-200:]}


def smtp_source(address, n, sessions, size, rcpts, keep):
    """Postfix's client; (seconds, exit code, message)."""
    argv = ["smtp-source", "-s", str(sessions), "-m", str(n), "-l", str(size), "-f", "sender@src.example", "-t", "user@dest.example",
            "-r", str(rcpts)] + (["-d"] if keep else []) + [f"{address[0]}:{address[1]}"]
    start = time.time()
    r = subprocess.run(argv, capture_output=True, text=True, timeout=1800)
    return time.time() - start, r.returncode, (r.stderr + r.stdout)[-300:]
