"""Limits of a destination hold, and one destination does not cost another."""
import time

import pytest

from harness.sink import Slow
from harness.wait import stays, wait_until

RETRY = {"queue": {"retry": ["1s", "2s"], "retry_jitter": "10%", "delay_warning": "0s"}, "log": {"level": "info"}}


def submit_many(box, domain, n, prefix="u"):
    with box.smtp() as c:
        for i in range(n):
            c.message("s@src.example", f"{prefix}{i}@{domain}", b"Subject: x\r\n\r\n" + b"y" * 70 + b"\r\n")


def test_connection_limit_is_never_exceeded(box, mx):
    box.start(config={**RETRY, "limits": [{"destination": "limited.example", "connections": 3}], "queue": {"shards": 4, "retry": ["1s"]}})
    s = mx(box, "127.0.0.3", rules={"eod": Slow(0.15)})
    box.dns.mx("limited.example", (10, "m.limited.example", "127.0.0.3"))
    submit_many(box, "limited.example", 60)
    s.wait(n=60, timeout=60)
    assert 2 <= s.max_open <= 3, f"{s.max_open} connections at once"


@pytest.mark.parametrize("role", ["scheduler", "deliverer"])
def test_limit_holds_through_a_restart(box, mx, role):
    box.start(config={**RETRY, "queue": {"shards": 4, "retry": ["1s"], "hold_time": "5s"},
                      "limits": [{"destination": "limited.example", "connections": 2}]})
    s = mx(box, "127.0.0.3", rules={"eod": Slow(0.2)})
    box.dns.mx("limited.example", (10, "m.limited.example", "127.0.0.3"))
    submit_many(box, "limited.example", 60)
    s.wait(n=10, timeout=30)
    assert s.max_open <= 2
    box.processes[role].kill()
    if role == "deliverer":
        # The sink sees the end of a connection when it has slept.
        wait_until(lambda: s.open == 0, 10, "the dead one's connections are gone")
    box.processes[role].start()
    box.wait_ready([role])
    wait_until(lambda: len({r for t in s.all() for r in t.rcpts}) == 60, 90, lambda: f"60 delivered, {len(s.all())} so far")
    assert s.max_open <= 2, f"{s.max_open} connections at once"


def test_two_domains_behind_one_route_share_its_limit(box, mx):
    s = mx(box, "127.0.0.3", rules={"eod": Slow(0.15)})
    hop = f"[127.0.0.3]:{box.smtp_port}"
    box.start(config={**RETRY, "routes": [{"domain": "a.example", "via": hop}, {"domain": "b.example", "via": hop}],
                      "limits": [{"destination": hop, "connections": 2}]})
    submit_many(box, "a.example", 20)
    submit_many(box, "b.example", 20)
    s.wait(n=40, timeout=60)
    assert s.max_open <= 2, f"{s.max_open} connections at once"


def test_messages_per_connection(box, mx):
    box.start(config={**RETRY, "limits": [{"destination": "*", "connections": 1, "messages_per_connection": 4}]})
    s = mx(box, "127.0.0.3", rules={"eod": Slow(0.02)})
    box.dns.mx("m.example", (10, "mx.m.example", "127.0.0.3"))
    submit_many(box, "m.example", 21)
    s.wait(n=21, timeout=60)
    assert max(x.transactions for x in s.sessions) == 4
    assert s.max_open == 1


def test_recipients_per_message(box, mx):
    box.start(config={**RETRY, "limits": [{"destination": "r.example", "recipients_per_message": 3}]})
    s = mx(box, "127.0.0.3")
    box.dns.mx("r.example", (10, "m.r.example", "127.0.0.3"))
    rcpts = [f"u{i}@r.example" for i in range(10)]
    box.submit(rcpts)
    wait_until(lambda: sum(len(t.rcpts) for t in s.all()) == 10, 30, "ten recipients")
    assert sorted(r for t in s.all() for r in t.rcpts) == sorted(rcpts)
    assert max(len(t.rcpts) for t in s.all()) == 3


def test_rate(box, mx):
    box.start(config={**RETRY, "limits": [{"destination": "slowly.example", "rate": "5/s"}]})
    s = mx(box, "127.0.0.3")
    box.dns.mx("slowly.example", (10, "m.slowly.example", "127.0.0.3"))
    submit_many(box, "slowly.example", 30)
    s.wait(n=30, timeout=60)
    dots = sorted(t.dot for t in s.all())
    # In no second more than the rate and a burst of one second's worth.
    for i in range(len(dots)):
        inside = sum(1 for d in dots if dots[i] <= d < dots[i] + 1)
        assert inside <= 11, f"{inside} in one second"
    assert dots[-1] - dots[0] >= 3.5, dots[-1] - dots[0]
    # And it is used, not only obeyed.
    assert dots[-1] - dots[0] < 15


def test_slow_destination_does_not_delay_a_fast_one(box, mx):
    box.start(config=RETRY)
    slow = mx(box, "127.0.0.3", rules={"eod": Slow(2)})
    box.dns.mx("slow.example", (10, "m.slow.example", "127.0.0.3"))
    submit_many(box, "slow.example", 200)
    wait_until(lambda: slow.sessions, 20, "the slow one is at work")
    start = time.monotonic()
    submit_many(box, "dest.example", 100, "fast")
    box.sink.wait(n=100, timeout=20)
    assert time.monotonic() - start < 12
    assert len(slow.all()) < 200


def test_dead_destination_does_not_delay_another(box):
    """Refused, and black holes that never answer a SYN are beyond loopback; refused is what we have."""
    box.start(config=RETRY)
    box.dns.mx("dead.example", (10, "m.dead.example", "127.0.0.3"))
    submit_many(box, "dead.example", 200)
    start = time.monotonic()
    submit_many(box, "dest.example", 100, "alive")
    box.sink.wait(n=100, timeout=20)
    assert time.monotonic() - start < 12
    wait_until(lambda: len(box.messages()) == 200, 10, lambda: f"{len(box.messages())} left")


def test_dead_site_is_left_alone(box, mx):
    """Two hundred messages for a site that greets with 421 are not two hundred connections a second."""
    box.start(config=RETRY)
    s = mx(box, "127.0.0.3", rules={"connect": "421 4.3.2 closed today"})
    box.dns.mx("dead.example", (10, "m.dead.example", "127.0.0.3"))
    submit_many(box, "dead.example", 200)
    wait_until(lambda: len(s.sessions) >= 5, 20, "it was tried")
    end = time.monotonic() + 6
    wait_until(lambda: time.monotonic() > end, 10)
    early = len(s.sessions)
    assert early < 150, f"{early} connections within seconds"
    # Nothing is lost by waiting: flush means probe, and all goes out.
    s.rules.clear()
    box.api.post("/api/v1/flush", {"destination": "dead.example"})
    s.wait(n=200, timeout=60)
    stays(lambda: len(s.all()) == 200, 0.5)


def test_deliverer_wide_limit(box, mx):
    box.start(config={**RETRY, "delivery": {"connections": 4}})
    sinks = []
    for i in range(3, 6):
        s = mx(box, f"127.0.0.{i}", rules={"eod": Slow(0.1)})
        box.dns.mx(f"d{i}.example", (10, f"m.d{i}.example", f"127.0.0.{i}"))
        sinks.append(s)
    for i in range(3, 6):
        submit_many(box, f"d{i}.example", 25)
    wait_until(lambda: sum(len(s.all()) for s in sinks) == 75, 60, "75 delivered")
    # The highest moments of each add up to more than ever were at once, but none can pass the whole.
    assert max(s.max_open for s in sinks) <= 4
