"""What the kernel knows about a run: CPU and memory of a control group, the block device, system calls, other work."""
import json
import os
import re
import resource
import signal
import subprocess
import threading
import time

from . import BENCH, BIN, DEVICE, MNT, RUN

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")
NAME = "postrider-bench"


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def sh(command, **kw):
    return subprocess.run(command, shell=True, **kw)


class Cgroup:
    """The control group an MTA runs in; version 1 or 2. Its processes get the machine first while a run is measured."""

    def __init__(self):
        if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            self.cpu = f"/sys/fs/cgroup/{NAME}"
            self.joined = [self.cpu]
            self.perf = NAME
            self._make(self.cpu)
            self._write("/sys/fs/cgroup/cgroup.subtree_control", "+cpu")
            self._write(f"{self.cpu}/cpu.weight", "10000")
        else:
            self.cpu = f"/sys/fs/cgroup/cpuacct/{NAME}"
            unified, shares = f"/sys/fs/cgroup/unified/{NAME}", f"/sys/fs/cgroup/cpu/{NAME}"
            self.joined = [p for p in (self.cpu, unified) if self._make(p)]
            self.perf = NAME if os.path.isdir(unified) else None
            if self._make(shares):
                # The harness and its tools are inside too: other work on the machine gets what is left over.
                self._write(f"{shares}/cpu.shares", "65536")
                self._write(f"{shares}/cgroup.procs", str(os.getpid()))

    @staticmethod
    def _make(path):
        try:
            os.makedirs(path, exist_ok=True)
        except OSError:
            return False
        return True

    @staticmethod
    def _write(path, text):
        try:
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
        except OSError:
            pass

    def shell(self, command):
        """The command as a shell line that runs inside the group."""
        return "; ".join(f"echo $$ > {p}/cgroup.procs" for p in self.joined) + f"; ulimit -n $(ulimit -Hn); {command}"

    def start(self, command, **kw):
        return subprocess.Popen(["bash", "-c", self.shell("exec " + command)], start_new_session=True, **kw)

    def run(self, command, **kw):
        return sh(self.shell(command), executable="/bin/bash", **kw)

    def processes(self):
        try:
            return [int(x) for x in read(f"{self.cpu}/cgroup.procs").split()]
        except OSError:
            return []

    def kill(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            for _ in range(60):
                left = self.processes()
                if not left:
                    return
                for pid in left:
                    try:
                        os.kill(pid, number)
                    except OSError:
                        pass
                time.sleep(0.1)

    def kill_now(self):
        """SIGKILL for all of them, and wait until they are gone."""
        while pids := self.processes():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            time.sleep(0.01)

    def cpu_seconds(self):
        """(all, user, system)"""
        if os.path.exists(f"{self.cpu}/cpu.stat") and not os.path.exists(f"{self.cpu}/cpuacct.usage"):
            v = dict(line.split() for line in read(f"{self.cpu}/cpu.stat").splitlines())
            return tuple(int(v[k]) / 1e6 for k in ("usage_usec", "user_usec", "system_usec"))
        return tuple(int(read(f"{self.cpu}/cpuacct.{k}")) / 1e9 for k in ("usage", "usage_user", "usage_sys"))


def machine_cpu():
    """(busy, user, stolen) seconds of the whole machine."""
    v = [int(x) for x in read("/proc/stat").split("\n", 1)[0].split()[1:]]
    return (sum(v[:8]) - v[3] - v[4] - v[7]) / TICK, (v[0] + v[1]) / TICK, v[7] / TICK


def tools_cpu(sink):
    """(all, user) seconds of harness, client and sink."""
    a, b = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    user = a.ru_utime + b.ru_utime
    total = user + a.ru_stime + b.ru_stime
    if sink:
        x = read(f"/proc/{sink.process.pid}/stat").rsplit(")", 1)[1].split()
        user += int(x[11]) / TICK
        total += (int(x[11]) + int(x[12])) / TICK
    return total, user


def disk():
    """Writes, bytes and flushes of the block device under the queues."""
    if not DEVICE:
        return {"writes": 0, "bytes": 0, "flushes": 0}
    v = [int(x) for x in read(f"/sys/class/block/{DEVICE}/stat").split()]
    return {"writes": v[4], "bytes": v[6] * 512, "flushes": v[15] if len(v) > 15 else 0}


def resident(pid):
    return int(read(f"/proc/{pid}/statm").split()[1]) * PAGE


class Sampler(threading.Thread):
    """Peaks of the group's memory: sum of resident sets twice a second, proportional sets every three."""

    def __init__(self, cgroup):
        super().__init__(daemon=True)
        self.cgroup = cgroup
        self.rss = self.pss = self.count = 0
        self.going = True
        self.start()

    def run(self):
        turn = 0
        while self.going:
            pids = self.cgroup.processes()
            self.count = max(self.count, len(pids))
            self.rss = max(self.rss, sum(self._try(resident, p) for p in pids))
            if turn % 6 == 3:
                self.pss = max(self.pss, sum(self._try(self._pss, p) for p in pids))
            turn += 1
            time.sleep(0.5)

    @staticmethod
    def _try(fn, pid):
        try:
            return fn(pid)
        except (OSError, IndexError, TypeError):
            return 0

    @staticmethod
    def _pss(pid):
        return int(re.search(r"^Pss:\s+(\d+)", read(f"/proc/{pid}/smaps_rollup"), re.M)[1]) * 1024


class Calls:
    """fsync and its kin, and context switches, of the group (perf)."""

    EVENTS = ["syscalls:sys_enter_" + e for e in ("fsync", "fdatasync", "sync_file_range", "syncfs", "sync")] + ["context-switches"]

    def __init__(self, cgroup):
        self.path = f"{RUN}/perf.txt"
        self.process = None
        if cgroup.perf:
            self.process = subprocess.Popen(
                ["perf", "stat", "-a", "-x,", "-o", self.path, "-e", ",".join(self.EVENTS),
                 "-G", ",".join([cgroup.perf] * len(self.EVENTS))], stderr=subprocess.DEVNULL)
            time.sleep(0.4)

    def end(self):
        if self.process is None:
            return {}
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        out = {}
        try:
            lines = read(self.path).splitlines()
        except OSError:
            return {}
        for line in lines:
            v = line.split(",")
            if len(v) > 2 and v[0].isdigit():
                out[v[2].replace("syscalls:sys_enter_", "")] = int(v[0])
        return out


def disk_probe():
    """Files per second, p50 and p99 in ms of create + 10 KB + fsync by four processes, just before a run."""
    r = subprocess.run([f"{BIN}/fsync_probe", f"{MNT}/probe", "4", "100", "10240"], capture_output=True, text=True)
    return json.loads(r.stdout) if r.returncode == 0 else None


def cpu_probe():
    """Ping-pongs between two processes a second, best of three: how fast the machine is just now."""
    best = 0
    for _ in range(3):
        a, b = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            for _ in range(3000):
                os.read(a[0], 1)
                os.write(b[1], b"x")
            os._exit(0)
        start = time.perf_counter()
        for _ in range(3000):
            os.write(a[1], b"x")
            os.read(b[0], 1)
        best = max(best, 3000 / (time.perf_counter() - start))
        os.waitpid(pid, 0)
        for f in (*a, *b):
            os.close(f)
    return round(best)


class Measure:
    """Everything between begin and end of a run, as one dictionary."""

    def __init__(self, cgroup, sink, perf=True):
        self.cgroup = cgroup
        self.sampler = Sampler(cgroup)
        self.calls = Calls(cgroup) if perf else None
        self.start = time.time()
        self.before = (cgroup.cpu_seconds(), machine_cpu(), disk(), tools_cpu(sink))

    def end(self, sink, n):
        (c0, a0, d0, t0), c1, a1, d1, t1 = self.before, self.cgroup.cpu_seconds(), machine_cpu(), disk(), tools_cpu(sink)
        wall = time.time() - self.start
        calls = self.calls.end() if self.calls else {}
        self.sampler.going = False
        cpu = [y - x for x, y in zip(c0, c1)]
        return {
            "wall": wall, "cpu_s": cpu[0], "cpu_user": cpu[1], "cpu_sys": cpu[2], "cpu_per_1k": cpu[0] / n * 1000,
            "tools_cpu": t1[0] - t0[0],
            # What somebody else on the machine used meanwhile: makes a run worthless when it is large.
            "foreign_user": (a1[1] - a0[1]) - cpu[1] - (t1[1] - t0[1]), "stolen": a1[2] - a0[2],
            "disk": {k: d1[k] - d0[k] for k in d0}, "calls": calls,
            "rss_mb": self.sampler.rss / 1e6, "pss_mb": self.sampler.pss / 1e6, "processes": self.sampler.count,
        }


def lock():
    """One run at a time on the machine."""
    import fcntl
    f = open(f"{BENCH}/lock", "w", encoding="ascii")
    fcntl.flock(f, fcntl.LOCK_EX)
    return f
