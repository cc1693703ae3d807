"""Named limits of the SMTP server, each with its fixed reply."""
import time

import pytest

from harness.smtp import Closed, mail, stuff
from harness.wait import wait_until

CONFIG = {"ingress": {
    "limits": {"message_size": "256KiB", "recipients": 100, "header_field": "4KiB", "soft_errors": 5, "hard_errors": 8,
               "harmless_commands": 20, "hops": 20},
}}


def body_of(size):
    """A message of exactly that many octets."""
    head = mail(body="")
    line = b"x" * 70 + b"\r\n"
    n, rest = divmod(size - len(head), len(line))
    if rest == 1:  # a line needs its CRLF
        n, rest = n - 1, rest + len(line)
    return head + line * n + (b"y" * (rest - 2) + b"\r\n" if rest else b"")


def test_message_size(shared, session, fresh):
    limit = 256 * 1024
    assert session.extensions["SIZE"] == [str(limit)]
    assert len(body_of(limit)) == limit
    session.envelope("s@src.example", fresh)
    assert session.data(body_of(limit)) == 250
    session.envelope("s@src.example", "toobig@dest.example")
    r = session.data(body_of(limit + 1))
    assert r == 552 and r.enhanced == "5.3.4", str(r)
    # Refused and swallowed: the session goes on.
    session.envelope("s@src.example", "after-" + fresh)
    assert session.data(mail()) == 250
    assert len(shared.sink.one(fresh).content) > limit
    shared.sink.one("after-" + fresh)
    assert not shared.sink.all("toobig@dest.example")


def test_size_counts_what_is_meant(session, fresh):
    """SIZE is about the message, not about doubled dots."""
    head = mail(body="")
    dots = b".\r\n" * ((256 * 1024 - len(head)) // 3)
    session.envelope("s@src.example", fresh)
    assert session.data(head + dots) == 250


def test_far_over_the_limit_is_cut_or_swallowed(shared):
    with shared.smtp() as c:
        c.envelope("s@src.example", "flood@dest.example")
        c.expect("DATA", 354)
        line = b"x" * 998 + b"\r\n"
        try:
            for _ in range(20000):  # 20 MB against 256 KiB
                c.send(line)
            c.send(b".\r\n")
            assert c.reply() == 552
        except (ConnectionError, BrokenPipeError):
            pass
    assert not shared.sink.all("flood@dest.example")
    assert shared.processes["ingress"].memory() < 700 << 20  # with AddressSanitizer's shadow


def test_recipients(shared, session):
    session.expect("MAIL FROM:<s@src.example>", 250)
    for i in range(100):
        session.expect(f"RCPT TO:<r{i}-many@dest.example>", 250)
    for i in range(100, 103):
        r = session.cmd(f"RCPT TO:<r{i}-many@dest.example>")
        assert r == 452 and r.enhanced == "4.5.3", str(r)
    assert session.data(mail()) == 250
    wait_until(lambda: sum(len(t.rcpts) for t in shared.sink.all() if "many@" in t.rcpts[0]) >= 100, 30, "100 recipients")
    got = [r for t in shared.sink.all() if t.rcpts and "many@" in t.rcpts[0] for r in t.rcpts]
    assert sorted(got) == sorted(f"r{i}-many@dest.example" for i in range(100))


def test_pipelined_recipient_flood(session):
    session.expect("MAIL FROM:<s@src.example>", 250)
    session.send(b"".join(b"RCPT TO:<f%d@dest.example>\r\n" % i for i in range(2000)))
    codes = []
    try:
        codes = [session.reply().code for _ in range(2000)]
    except Closed:
        pass
    assert codes[:100] == [250] * 100 and set(codes[100:]) <= {452, 421}


def test_header_field(session, fresh):
    ok = "X-Long: " + "a" * 900 + "\r\n" + (" " + "b" * 900 + "\r\n") * 2
    session.envelope("s@src.example", fresh)
    assert session.data(mail(extra=ok)) == 250
    session.envelope("s@src.example", fresh)
    r = session.data(mail(extra=ok + (" " + "c" * 900 + "\r\n") * 3))
    assert r.code // 100 == 5, str(r)
    assert session.alive()


def test_text_line(shared, session, fresh):
    session.envelope("s@src.example", fresh)
    assert session.data(mail(body="z" * 998 + "\r\n")) == 250
    assert shared.sink.one(fresh).content.endswith(b"\r\n" + b"z" * 998 + b"\r\n")
    session.envelope("s@src.example", "longline@dest.example")
    r = session.data(mail(body="z" * 999 + "\r\n"))
    assert r.code // 100 == 5, str(r)
    session.envelope("s@src.example", "longline@dest.example")
    r = session.data(mail(body="z" * 100000 + "\r\n"))
    assert r.code // 100 == 5, str(r)
    assert session.alive()


def test_hops(shared, session, fresh):
    hop = "Received: from a by b; Sat, 21 Nov 2026 10:00:00 +0000\r\n"
    session.envelope("s@src.example", fresh)
    assert session.data((hop * 20).encode() + mail()) == 250
    session.envelope("s@src.example", "loop@dest.example")
    r = session.data((hop * 21).encode() + mail())
    assert r == 554 and r.enhanced == "5.4.6", str(r)
    # Only the header counts.
    session.envelope("s@src.example", "in-body-" + fresh)
    assert session.data(mail(body=hop * 30)) == 250
    shared.sink.one(fresh)
    shared.sink.one("in-body-" + fresh)


def test_errors(shared):
    """Slowed after soft_errors, ended after hard_errors with 421."""
    with shared.smtp() as c:
        codes = []
        start = time.monotonic()
        with pytest.raises(Closed):
            for _ in range(30):
                codes.append(c.cmd("BOGUS").code)
        assert codes[-1] == 421 and len(codes) in (8, 9), codes
        assert set(codes[:-1]) <= {500, 502}
        assert time.monotonic() - start > 0.5


def test_harmless_commands(shared):
    with shared.smtp() as c:
        codes = []
        with pytest.raises(Closed):
            for i in range(60):
                codes.append(c.cmd(("NOOP", "RSET", "VRFY x")[i % 3]).code)
        assert codes[-1] == 421 and 19 <= len(codes) <= 22, codes


def test_harmless_commands_start_again_with_mail(shared):
    with shared.smtp() as c:
        for i in range(3):
            for _ in range(15):
                c.expect("NOOP", 250)
            c.message("s@src.example", f"harmless{i}@dest.example", mail())


def test_messages_per_connection(box):
    box.start(config={"ingress": {"limits": {"messages_per_connection": 3}}})
    with box.smtp() as c:
        for i in range(3):
            c.message("s@src.example", f"m{i}@dest.example", mail())
        with pytest.raises((AssertionError, Closed)) as e:
            c.envelope("s@src.example", "m3@dest.example")
        assert "421" in str(e.value) or e.type is Closed
    for i in range(3):
        box.sink.one(f"m{i}@dest.example")


def test_connections_per_client(box):
    listener = {"name": "main", "address": f"127.0.0.1:{box.listen_port}", "max_connections": 6, "max_connections_per_client": 3}
    box.start(config={"ingress": {"listeners": [listener]}})
    open_ = [box.smtp() for _ in range(3)]
    with box.smtp(helo=None) as c:
        assert c.greeting == 421 and c.at_eof(), str(c.greeting)
    other = [box.smtp(source="127.0.0.7") for _ in range(3)]
    with box.smtp(helo=None, source="127.0.0.8") as c:
        assert c.greeting == 421, "the listener is full"
    open_.pop().close()

    def free():
        with box.smtp(helo=None) as c:
            return c.greeting == 220

    wait_until(free, 10, "a place is free again")
    for c in open_ + other:
        assert c.alive()
        c.close()


def test_timeouts(box):
    box.start(config={"ingress": {"timeouts": {"command": "1s", "data": "1s"}, "min_rate": "0B/s"}})
    c = box.smtp()
    start = time.monotonic()
    r = c.reply()
    assert r == 421 and c.at_eof() and 0.9 < time.monotonic() - start < 5, str(r)
    # A deadline for the whole line, not for each byte.
    c = box.smtp()
    start = time.monotonic()
    with pytest.raises((ConnectionError, BrokenPipeError, AssertionError)):
        for _ in range(200):
            c.send(b"N")
            c.sock.settimeout(0.1)
            try:
                assert c.reply() != 421
            except TimeoutError:
                pass
    assert time.monotonic() - start < 5
    c = box.smtp()
    c.envelope("s@src.example", "stall@dest.example")
    c.expect("DATA", 354)
    c.send(b"Subject: half\r\n")
    assert c.reply() == 421
    assert not box.messages()


def test_minimum_rate(box):
    box.start(config={"ingress": {"min_rate": "2000B/s", "timeouts": {"data": "30s"}}})
    c = box.smtp()
    c.envelope("s@src.example", "trickle@dest.example")
    c.expect("DATA", 354)
    start = time.monotonic()
    c.sock.settimeout(0.2)
    ended = None
    while ended is None and time.monotonic() - start < 60:
        try:
            c.send(b"x" * 20 + b"\r\n")
            ended = c.reply().code
        except TimeoutError:
            pass
        except (ConnectionError, BrokenPipeError):
            ended = 0
    assert ended in (0, 421), ended
    assert not box.messages()


def test_memory_budget(box):
    """More bodies under way than memory is granted for: some get a 4xx, nobody gets a half-stored message."""
    box.start(config={"ingress": {"limits": {"memory": "4MiB", "message_size": "25MiB"}, "threads": 1,
                                  "timeouts": {"data": "20s"}}})
    line = b"m" * 998 + b"\r\n"
    clients, refused = [], 0
    for i in range(24):
        c = box.smtp(timeout=60)
        r = c.cmd(f"MAIL FROM:<s@src.example> SIZE={2 << 20}")
        r = c.cmd(f"RCPT TO:<mem{i}@dest.example>") if r == 250 else r
        r = c.cmd("DATA") if r == 250 else r
        if r == 354:
            clients.append((i, c))
        else:
            assert r.code in (451, 452), str(r)
            refused += 1
    accepted = []
    for i, c in clients:
        try:
            c.send(stuff(mail(body="")[:-2] + b"\r\n" + line * 2000))
            r = c.reply()
        except (ConnectionError, BrokenPipeError):
            refused += 1
            continue
        if r == 250:
            accepted.append(i)
        else:
            assert r.code in (451, 452, 421), str(r)
            refused += 1
    assert accepted
    for i in accepted:
        assert len(box.sink.one(f"mem{i}@dest.example", timeout=60).content) > 1990000
    assert box.processes["ingress"].memory() < 600 << 20
    box.queue_empty()
    assert len(box.sink.all()) == len(accepted)


def test_queue_unavailable_is_a_4xx(box):
    """Without a scheduler nobody gets a 250, and mail flows again when it is back."""
    box.start(config={"ingress": {"timeouts": {"commit": "3s"}}})
    box.submit("before@dest.example")
    box.processes["scheduler"].kill()

    def refused():
        with box.smtp(helo=None, timeout=15) as c:
            if c.greeting == 421:
                return c.greeting
            c.ehlo()
            r = c.cmd("MAIL FROM:<s@src.example>")
            r = c.cmd("RCPT TO:<while@dest.example>") if r == 250 else r
            r = c.cmd("DATA") if r == 250 else r
            if r == 354:
                c.send(stuff(mail()))
                r = c.reply()
            return r

    r = refused()
    assert r.code in (451, 452, 421), str(r)
    # Known after a while: then it is said before the body.
    wait_until(lambda: box.admin("ingress").status_of("/readyz") == 503, 20, "ingress not ready")
    assert box.admin("ingress").status_of("/livez") == 200
    box.processes["scheduler"].start()
    box.wait_ready()
    box.submit("again@dest.example")
    box.sink.one("again@dest.example")
    assert len(box.sink.all("while@dest.example")) <= 1
