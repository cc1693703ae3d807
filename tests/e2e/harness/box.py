"""One Postrider on this machine: the three daemons as processes, a DNS server and a sink, in a directory of its own."""
import copy
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import threading

import yaml

from .admin import Admin
from .dns import Dns
from .logs import Log
from .ports import free_port
from .sink import Sink
from .smtp import Smtp, mail
from .wait import wait_until

ROLES = ("scheduler", "deliverer", "ingress")
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BIN = os.environ.get("POSTRIDER_BIN") or os.path.join(ROOT, "build", "asan", "bin")
MX = "127.0.0.2"  # where mail for dest.example goes
SANITIZER = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "ThreadSanitizer", "Assertion `")


def program(name):
    return os.path.join(BIN, name)


def root_option():
    """The daemons refuse to run as root unless told; containers of CI have nobody else."""
    return ["--allow-root"] if os.geteuid() == 0 else []


def sanitizer_env(directory, name):
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = f"detect_leaks=1:abort_on_error=0:exitcode=99:log_path={directory}/sanitizer.{name}"
    env["UBSAN_OPTIONS"] = f"print_stacktrace=1:log_path={directory}/sanitizer.{name}"
    env["LSAN_OPTIONS"] = f"suppressions={os.path.join(ROOT, 'tests', 'e2e', 'lsan.supp')}:print_suppressions=0"
    env["TZ"] = "UTC"
    return env


def die_with_parent():
    """For the child: SIGKILL when the test runner ends, however it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Plain(yaml.SafeDumper):
    """No anchors: our configuration refuses them."""

    def ignore_aliases(self, data):
        return True


def merge(base, over):
    """over's maps merge into base's; lists and scalars replace; None removes."""
    out = copy.deepcopy(base)
    for k, v in (over or {}).items():
        if v is None:
            out.pop(k, None)
        elif isinstance(v, dict) and isinstance(out.get(k), dict):
            out[k] = merge(out[k], v)
        else:
            out[k] = copy.deepcopy(v)
    return out


class Process:
    def __init__(self, name, argv, directory):
        self.name, self.argv, self.directory = name, argv, directory
        self.log = Log(os.path.join(directory, name + ".log"))
        self.popen = None
        self.killed = False

    def start(self):
        self.killed = False
        with open(self.log.path, "ab") as out:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.directory,
                                          env=sanitizer_env(self.directory, self.name), preexec_fn=die_with_parent)

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        self.killed = True
        if self.running():
            self.popen.kill()
        if self.popen:
            self.popen.wait()

    def stop(self, timeout=40):
        """SIGTERM; returns the exit code."""
        if self.running():
            self.popen.terminate()
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
                raise AssertionError(f"{self.name} did not stop within {timeout} s of SIGTERM:\n{self.log.tail()}")
        return self.popen.returncode if self.popen else 0

    def memory(self, key="VmHWM"):
        """Bytes, of /proc/PID/status: VmHWM is the highest resident set so far."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * 1024
        raise AssertionError(key)


class Box:
    live = []  # for reports of failures

    def __init__(self, name="box", config=None, sink=True):
        # Short, since socket paths are at most 107 octets; on disk, since /tmp may be memory.
        self.dir = tempfile.mkdtemp(prefix="pr-", dir=os.environ.get("POSTRIDER_TMP", "/var/tmp"))
        self.name = name
        self.smtp_port = free_port(("127.0.0.1", MX, "127.0.0.3", "127.0.0.4", "127.0.0.5"))
        self.listen_port = free_port()
        self.dns = Dns()
        self.dns.mx("dest.example", (10, "mx.dest.example", MX))
        self.dns.mx("src.example", (10, "mx.src.example", MX))
        self.hosts = 0
        self.sinks = []
        self.sink = self.new_sink() if sink else None
        self.overrides = config or {}
        self.config_path = os.path.join(self.dir, "postrider.yaml")
        self.processes = {}
        self.failed = False
        for role in ROLES:
            argv = [program("postrider-" + role), "-c", self.config_path] + root_option()
            self.processes[role] = Process(role, argv, self.dir)
        Box.live.append(self)

    # ---- configuration

    def base(self):
        return {
            "hostname": "mx.test.example",
            "data_dir": os.path.join(self.dir, "data"),
            "runtime_dir": os.path.join(self.dir, "run"),
            "log": {"level": "debug"},
            "ingress": {
                "threads": 2,
                "listeners": [{"name": "main", "address": f"127.0.0.1:{self.listen_port}"}],
                "trusted_networks": ["127.0.0.1/32"],
                "own_domains": ["ours.example"],
            },
            "queue": {"shards": 2},
            "delivery": {
                "threads": 1,
                "dns": {"servers": [self.dns.address], "ttl_min": "100ms"},
                "smtp_port": self.smtp_port,
                "refused_networks": [],
            },
        }

    def write_config(self, extra=None):
        config = merge(merge(self.base(), self.overrides), extra)
        with open(self.config_path, "w", encoding="utf-8") as f:
            yaml.dump(config, f, Plain, sort_keys=False, allow_unicode=True)
        self.config = config
        return config

    # ---- life

    def start(self, roles=ROLES, config=None):
        if config is not None:
            self.overrides = merge(self.overrides, config)
        self.write_config()
        for d in (self.config["data_dir"], self.config["runtime_dir"]):
            os.makedirs(d, mode=0o700, exist_ok=True)
        for role in roles:
            self.processes[role].start()
        self.wait_ready(roles)
        return self

    def wait_ready(self, roles=ROLES, timeout=60):
        for role in roles:
            wait_until(lambda: self.ready(role), timeout, lambda: f"{role} ready:\n{self.processes[role].log.tail()}")

    def ready(self, role):
        p = self.processes[role]
        if not p.running():
            self.failed = True
            raise RuntimeError(f"{p.name} ended with {p.popen.returncode}:\n{p.log.tail()}\n{self.sanitizer_reports()}")
        return self.admin(role).status_of("/readyz") == 200

    def restart(self, role, kill=False):
        p = self.processes[role]
        if kill:
            p.kill()
        else:
            assert p.stop() == 0, p.log.tail()
        p.start()
        self.wait_ready([role])

    def stop(self):
        """Orderly stop of what runs, in the order mail flows; every exit code must be 0."""
        for role in ("ingress", "deliverer", "scheduler"):
            p = self.processes[role]
            if p.popen is not None and not p.killed:
                code = p.stop()
                assert code == 0, f"{p.name} ended with {code}:\n{p.log.tail()}\n{self.sanitizer_reports()}"

    def close(self):
        """Everything ends; then the sanitizers and the sinks must have nothing to say."""
        try:
            self.stop()
        finally:
            for p in self.processes.values():
                p.kill()
            for s in self.sinks:
                s.close()
            self.dns.close()
            reports = self.sanitizer_reports()
            violations = [v for s in self.sinks for v in s.violations]
            Box.live.remove(self)
            if not (reports or violations or self.failed or os.environ.get("POSTRIDER_KEEP")):
                shutil.rmtree(self.dir, ignore_errors=True)
        assert not reports, reports
        assert not violations, "\n".join(violations)

    def sanitizer_reports(self):
        out = []
        for name in sorted(os.listdir(self.dir)):
            if name.startswith("sanitizer.") or name.endswith(".log"):
                text = Log(os.path.join(self.dir, name)).text()
                if name.startswith("sanitizer.") and text or any(s in text for s in SANITIZER):
                    out.append(f"--- {name}\n{text[-6000:]}")
        return "\n".join(out)

    # ---- doors

    def admin(self, role="scheduler"):
        default = "unix:" + os.path.join(self.config["runtime_dir"], role + ".http")
        return Admin(self.config.get("admin", {}).get(role, default))

    @property
    def api(self):
        return self.admin("scheduler")

    def log(self, role):
        return self.processes[role].log

    @property
    def address(self):
        return ("127.0.0.1", self.listen_port)

    def smtp(self, **kw):
        return Smtp(self.address, **kw)

    def host(self):
        """An address no other test of this box uses: the deliverer remembers dead hosts."""
        self.hosts += 1
        return f"127.1.{self.hosts // 250}.{self.hosts % 250 + 1}"

    def new_sink(self, **kw):
        if "path" not in kw:
            kw.setdefault("host", MX)
            kw.setdefault("port", self.smtp_port)
        s = Sink(**kw)
        self.sinks.append(s)
        return s

    def submit(self, rcpts="user@dest.example", content=None, sender="sender@src.example", params="", **kw):
        """Sends one message; returns its queue id."""
        with self.smtp(**kw) as c:
            id_ = c.message(sender, rcpts, content or mail(), params)
            c.cmd("QUIT")
            return id_

    def messages(self, **query):
        return self.api.get("/api/v1/messages", limit=query.pop("limit", 1000), **query)["messages"]

    def queue_empty(self, timeout=30):
        wait_until(lambda: not self.messages(), timeout, lambda: f"queue empty, has {self.messages()[:3]}")

    def report(self):
        parts = [f"box {self.name} in {self.dir}"]
        for p in self.processes.values():
            if p.popen is not None:
                parts.append(f"--- {p.name} ({'running' if p.running() else p.popen.returncode})\n{p.log.tail(40)}")
        return "\n".join(parts)


class Background:
    """Runs fn in a thread; result() gives its value or raises what it raised."""

    def __init__(self, fn, *args, **kw):
        self.value = self.error = None
        self.thread = threading.Thread(target=self._run, args=(fn, args, kw), daemon=True)
        self.thread.start()

    def _run(self, fn, args, kw):
        try:
            self.value = fn(*args, **kw)
        except BaseException as e:
            self.error = e

    def result(self, timeout=60):
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "still running"
        if self.error:
            raise self.error
        return self.value


SIGHUP = signal.SIGHUP
