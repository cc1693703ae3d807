"""CHUNKING and BINARYMIME (RFC 3030): sizes are exact, chunk boundaries carry no meaning."""
import time

import pytest

from harness.smtp import Closed, mail

CONFIG = {"ingress": {"limits": {"message_size": "256KiB"}}}


def chunk(c, data, last=False):
    c.send(b"BDAT %d%s\r\n" % (len(data), b" LAST" if last else b"") + data)
    return c.reply()


def test_one_chunk(shared, session, fresh):
    text = mail(body="a\r\n.\r\n..\r\n")
    session.envelope("s@src.example", fresh)
    assert chunk(session, text, True) == 250
    assert shared.sink.one(fresh).content.endswith(text)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_boundaries_anywhere(shared, session, fresh, size):
    text = mail(body="x\r\n.\r\n.y\r\n" * 5)
    session.envelope("s@src.example", fresh)
    for i in range(0, len(text), size):
        assert chunk(session, text[i:i + size]) == 250
    assert chunk(session, b"", True) == 250
    assert shared.sink.one(fresh).content.endswith(text)


def test_pipelined_chunks(shared, session, fresh):
    text = mail(body="pipelined\r\n")
    session.send(f"MAIL FROM:<s@src.example>\r\nRCPT TO:<{fresh}>\r\n".encode() + b"BDAT 5\r\n" + text[:5]
                 + b"bdat %d last\r\n" % (len(text) - 5) + text[5:] + b"NOOP\r\n")
    assert [session.reply().code for _ in range(5)] == [250] * 5
    assert shared.sink.one(fresh).content.endswith(text)


@pytest.mark.parametrize("size", [b"-1", b"0x10", b"18446744073709551616", b"+5", b"5.0", b"5x", b"", b"1e3", b"\xd9\xa5"])
def test_sizes_that_do_not_parse(shared, size):
    """The count cannot be known, so the connection cannot go on."""
    with shared.smtp() as c:
        c.envelope("s@src.example", "badsize@dest.example")
        c.send(b"BDAT " + size + b" LAST\r\n" + b"MAIL FROM:<evil@src.example>\r\n")
        r = c.reply()
        assert r.code in (500, 501), str(r)
        try:
            while True:
                assert c.reply().code // 100 in (4, 5)
        except Closed:
            pass
    assert not shared.sink.all("badsize@dest.example")


@pytest.mark.parametrize("argument", [b"6 FIRST", b"6 LAST X", b"6 LASTX"])
def test_arguments_that_do_not_parse(session, argument):
    """The size is known, so the chunk is swallowed and the session goes on."""
    session.envelope("s@src.example", "badarg@dest.example")
    session.send(b"BDAT " + argument + b"\r\nQUIT\r\n")
    assert session.reply().code in (500, 501)
    session.expect("NOOP", 250)


def test_refused_chunk_is_swallowed_exactly(session):
    data = b"MAIL FROM:<evil@src.example>\r\nQUIT\r\n"
    assert chunk(session, data) == 503
    session.expect("MAIL FROM:<s@src.example>", 250)
    assert chunk(session, data, True).code in (503, 554)
    session.expect("RSET", 250)
    assert chunk(session, data).code == 503
    assert session.alive()


def test_data_and_bdat_do_not_mix(shared, session):
    session.envelope("s@src.example", "mix@dest.example")
    assert chunk(session, b"Subject: x\r\n") == 250
    assert session.cmd("DATA") == 503
    for command in ("MAIL FROM:<t@src.example>", "RCPT TO:<b@dest.example>"):
        assert session.cmd(command) == 503
    session.expect("RSET", 250)
    assert chunk(session, b"\r\nx\r\n", True) == 503
    session.message("s@src.example", "marker-mix@dest.example", mail())
    shared.sink.one("marker-mix@dest.example")
    assert not shared.sink.all("mix@dest.example")


def test_nothing_after_last(shared, session, fresh):
    session.envelope("s@src.example", fresh)
    assert chunk(session, mail(), True) == 250
    assert chunk(session, b"more", True) == 503
    assert session.cmd("DATA").code in (503, 554)
    assert session.cmd("RCPT TO:<b@dest.example>") == 503
    shared.sink.one(fresh)


def test_chunks_obey_the_size_limit(shared, session, fresh):
    session.envelope("s@src.example", "bdatbig@dest.example")
    block = (b"x" * 70 + b"\r\n") * 900
    replies = [chunk(session, block).code for _ in range(6)]  # 388,800 of 262,144
    assert 552 in replies and replies[0] == 250, replies
    r = chunk(session, b"", True)
    assert r.code in (552, 503), str(r)
    session.expect("RSET", 250)
    session.envelope("s@src.example", fresh)
    assert chunk(session, mail(), True) == 250
    shared.sink.one(fresh)
    assert not shared.sink.all("bdatbig@dest.example")


def test_one_huge_chunk(shared):
    """A size beyond any limit: refused, and the connection ends however much comes."""
    with shared.smtp() as c:
        c.envelope("s@src.example", "huge@dest.example")
        c.send(b"BDAT 9223372036854775807 LAST\r\n")
        assert c.reply() == 552
        end = time.monotonic() + 20
        with pytest.raises((ConnectionError, BrokenPipeError)):
            while time.monotonic() < end:
                c.send(b"x" * 65536)


def test_ten_thousand_chunks_are_cheap(shared, session, fresh):
    head = mail(body="")
    session.envelope("s@src.example", fresh)
    assert chunk(session, head) == 250
    for _ in range(20):
        session.send(b"".join(b"BDAT 1\r\n" + bytes([c]) for c in b"x" * 498 + b"\r\n"))
        assert {session.reply().code for _ in range(500)} == {250}
    assert chunk(session, b"", True) == 250
    assert shared.sink.one(fresh).content.endswith(b"\r\n\r\n" + (b"x" * 498 + b"\r\n") * 20)


def test_connection_lost_inside_a_chunk(shared):
    with shared.smtp() as c:
        c.envelope("s@src.example", "cut@dest.example")
        c.send(b"BDAT 1000 LAST\r\nSubject: half")
    shared.submit("marker-cut@dest.example")
    shared.sink.one("marker-cut@dest.example")
    assert not shared.sink.all("cut@dest.example")


def test_starttls_inside_a_chunk_is_data(shared, session, fresh):
    text = mail(body="STARTTLS\r\nQUIT\r\n")
    session.envelope("s@src.example", fresh)
    assert chunk(session, text[:-10]) == 250
    assert chunk(session, text[-10:], True) == 250
    assert shared.sink.one(fresh).content.endswith(text)


def test_binarymime(shared, session, mx, domain):
    """BINARYMIME goes by BDAT only; without it a bare newline in a chunk is refused like in DATA."""
    s = mx(shared, extensions=["8BITMIME", "CHUNKING", "BINARYMIME"])
    shared.dns.mx(domain, (10, f"m.{domain}", s.host))
    session.expect("MAIL FROM:<s@src.example> BODY=BINARYMIME", 250)
    session.expect(f"RCPT TO:<u@{domain}>", 250)
    assert session.cmd("DATA").code in (501, 503, 554)
    session.expect("RSET", 250)

    data = mail(body="") + bytes(range(256)) * 4
    session.expect("MAIL FROM:<s@src.example> BODY=BINARYMIME", 250)
    session.expect(f"RCPT TO:<u@{domain}>", 250)
    assert chunk(session, data, True) == 250
    t = s.one(f"u@{domain}")
    assert t.content.endswith(data) and t.chunks and t.sender_params.get("BODY", "").upper() == "BINARYMIME"

    session.expect("MAIL FROM:<s@src.example>", 250)
    session.expect("RCPT TO:<barebdat@dest.example>", 250)
    r = chunk(session, mail(body="a\nb\r\n"), True)
    assert r == 550 and r.enhanced == "5.6.0", str(r)
