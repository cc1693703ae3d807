"""The rig itself: an oracle that cannot see a loss, or a sink that takes everything, would make the other tests worthless."""
import hashlib
import threading

import pytest

from harness.dns import Dns
from harness.load import ABORTED, ACCEPTED, REFUSED, UNKNOWN, Books, Load, Record
from harness.logs import parse
from harness.oracle import Oracle
from harness.sink import Session, Sink, Transaction
from harness.smtp import Smtp, mail
from harness.wait import Deadline, wait_until


def content(n):
    return b"Subject: load\r\nMessage-ID: <load%d@src.example>\r\n\r\nbody\r\n" % n


def record(n, outcome):
    return Record(f"load{n}", [f"u{n}@dest.example"], hashlib.sha256(content(n)).hexdigest(), outcome)


def copy(n, dot=100.0, closed=0.0, text=None):
    session = Session(0, ("", 0), 90.0, closed)
    data = b"Received: from a by b\r\n\twith ESMTP id x; date\r\n" + (text or content(n))
    return Transaction(session, rcpts=[f"u{n}@dest.example"], content=data, reply="250 ok", dot=dot, ended=dot + 0.01)


def verdict(records, copies, **kw):
    return [w.split()[0] for w in Oracle(Books(records), copies, **kw).check()]


def test_oracle_is_content_when_all_is_well():
    assert verdict([record(1, ACCEPTED), record(2, UNKNOWN), record(3, UNKNOWN), record(4, REFUSED), record(5, ABORTED)],
                   [copy(1), copy(2)]) == []


def test_oracle_sees_each_fault():
    assert verdict([record(1, ACCEPTED)], []) == ["I1"]
    assert verdict([record(1, ACCEPTED)], [copy(1), copy(2)]) == ["I2"]
    assert verdict([record(1, REFUSED)], [copy(1)]) == ["I3"]
    assert verdict([record(1, ABORTED)], [copy(1)]) == ["I3"]
    assert verdict([record(1, ACCEPTED)], [copy(1, text=content(1)[:-3] + b"X\r\n")]) == ["I4"]
    assert verdict([record(1, ACCEPTED)], [copy(1), copy(1, dot=101.0)]) == ["I5"]


def test_oracle_knows_where_mail_may_be_instead():
    assert verdict([record(1, ACCEPTED)], [], queued_rcpts=["u1@dest.example"]) == []
    assert verdict([record(1, ACCEPTED)], [], bounced=["u1@dest.example"]) == []


def test_oracle_excuses_only_the_window():
    """Killed right after the dot, the session gone with it: excused. Killed later, or more often than there were connections: not."""
    two = lambda closed, kills: verdict([record(1, ACCEPTED)], [copy(1, 100.0, closed), copy(1, 130.0)], kills=kills)
    assert two(100.1, [(100.05, 3)]) == []
    assert two(103.0, [(102.0, 3)]) == ["I5"]
    assert two(0.0, [(100.05, 3)]) == ["I5"]
    many = [record(n, ACCEPTED) for n in range(5)]
    copies = [copy(n, 100.0, 100.1) for n in range(5)] + [copy(n, 130.0) for n in range(5)]
    assert verdict(many, copies, kills=[(100.05, 2)]) == ["I5"]
    assert verdict(many, copies, kills=[(100.05, 5)]) == []


@pytest.fixture
def sink():
    s = Sink()
    yield s
    s.close()


def test_load_client_and_sink_agree(sink):
    sink.rules["eod"] = lambda session, t: "451 4.3.0 no" if len(sink.transactions) % 7 == 3 else None
    books = Load(("127.0.0.2", sink.port), sessions=3).start(limit=60).join()
    assert len(books.records) == 60 and books.count(REFUSED) > 3
    assert books.count(ACCEPTED) + books.count(REFUSED) == 60
    # No Received field here: the digest is of the whole.
    assert Oracle(books, sink.all()).check() == []


@pytest.mark.parametrize("sent,complaint", [
    (b"EHLO a\r\nMAIL FROM:<a@b>\r\n", "before the reply to EHLO"),
    (b"NOOP\n", "bare CR, LF or NUL in a command"),
    (b"BOGUS\r\n", "unknown command"),
])
def test_sink_is_strict_about_commands(sink, sent, complaint):
    with Smtp((sink.host, sink.port), helo=None) as c:
        c.send(sent)
        c.reply()
        wait_until(lambda: any(complaint in v for v in sink.violations), 5, lambda: sink.violations)


@pytest.mark.parametrize("body,complaint", [(b"a\nb\r\n", "bare CR or LF"), (b"a\rb\r\n", "bare CR or LF"), (b"\0\r\n", "NUL"),
                                            (b"x" * 1001 + b"\r\n", "line over 998"), (b"\xff\r\n", "8-bit without")],
                         ids=["lf", "cr", "nul", "long", "8bit"])
def test_sink_is_strict_about_data(sink, body, complaint):
    sink.extensions = [e for e in sink.extensions if e != "8BITMIME"]
    with Smtp((sink.host, sink.port)) as c:
        c.envelope("s@src.example", "r@dest.example")
        assert c.data(b"Subject: x\r\n\r\n" + body) == 250
    assert any(complaint in v for v in sink.violations)


def test_sink_counts_connections(sink):
    clients = [Smtp((sink.host, sink.port)) for _ in range(4)]
    assert sink.max_open == 4
    for c in clients:
        c.close()
    wait_until(lambda: sink.open == 0, 5)


def test_raw_client_reads_strictly(sink):
    sink.rules["noop"] = "250 fine\n250 and a bare newline"
    with Smtp((sink.host, sink.port)) as c:
        with pytest.raises(AssertionError, match="bare line end"):
            c.cmd("NOOP")
    with Smtp((sink.host, sink.port)) as c:
        c.envelope("s@src.example", "dots@dest.example")
        assert c.data(mail(body=".\r\n..\r\n.x\r\n")) == 250
    assert sink.one("dots@dest.example").content == mail(body=".\r\n..\r\n.x\r\n")


def test_log_lines():
    line = '2026-11-21T07:30:00.123Z info postrider-ingress smtp_message id=A1 from="a b\\u000d\\"c" size=10 empty=""'
    assert parse(line) == {"time": "2026-11-21T07:30:00.123Z", "level": "info", "program": "postrider-ingress",
                           "event": "smtp_message", "id": "A1", "from": 'a b\r"c', "size": "10", "empty": ""}
    assert parse("==123==ERROR: AddressSanitizer: heap-use-after-free") is None


def test_waiting_ends():
    with pytest.raises(Deadline):
        wait_until(lambda: False, 0.1, "never")
    event = threading.Event()
    threading.Timer(0.1, event.set).start()
    assert wait_until(event.is_set, 5)


def test_dns_server_closes():
    d = Dns()
    d.close()
