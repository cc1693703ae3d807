"""Remotes that hang: every wait has its own timeout, and others do not notice."""
import time

import pytest

from harness.sink import Hang, Slow
from harness.wait import wait_until

CONFIG = {"queue": {"retry": ["1s", "1s", "1s"], "retry_jitter": "0%", "delay_warning": "0s"},
          "delivery": {"timeouts": {"connect": "2s", "greeting": "2s", "command": "2s", "data": "2s", "block": "2s", "dot": "2s",
                                    "quit": "1s"}}}


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data", "eod"])
def test_hangs_at(shared, mx, domain, stage):
    s = mx(shared, rules={stage: [Hang()]}, extensions=["PIPELINING", "8BITMIME"])
    shared.dns.mx(domain, (10, f"m.{domain}", s.host))
    start = time.monotonic()
    shared.submit(f"u@{domain}", sender=f"back.{domain}@src.example")
    s.one(f"u@{domain}", timeout=60)
    assert time.monotonic() - start > 1.5
    assert not shared.sink.all(f"back.{domain}@src.example")


def test_hangs_at_quit(shared, mx, domain):
    """A server that never answers QUIT holds nothing but its own connection."""
    s = mx(shared, rules={"quit": Hang()})
    shared.dns.mx(domain, (10, f"m.{domain}", s.host))
    for i in range(3):
        shared.submit(f"u{i}@{domain}")
        s.one(f"u{i}@{domain}")
    wait_until(lambda: all(x.closed for x in s.sessions), 20, "connections closed")


def test_slow_but_alive(shared, mx, domain):
    """Each reply within its timeout, the whole transaction far beyond it."""
    s = mx(shared, rules={k: Slow(0.9) for k in ("connect", "ehlo", "mail", "rcpt", "data", "eod")}, extensions=[])
    shared.dns.mx(domain, (10, f"m.{domain}", s.host))
    shared.submit(f"u@{domain}")
    s.one(f"u@{domain}", timeout=30)
    time_taken = s.all()[0].ended - s.sessions[0].opened
    assert len(s.sessions) == 1 and time_taken > 3


def test_others_do_not_notice(shared, mx, domain):
    s = mx(shared, rules={"connect": Hang()})
    shared.dns.mx(domain, (10, f"m.{domain}", s.host))
    for i in range(50):
        shared.submit(f"u{i}@{domain}")
    wait_until(lambda: s.sessions, 20, "it hangs")
    start = time.monotonic()
    for i in range(30):
        shared.submit(f"beside{i}-{domain}@dest.example")
    for i in range(30):
        shared.sink.one(f"beside{i}-{domain}@dest.example", timeout=15)
    assert time.monotonic() - start < 15
