"""End of data: nothing but CR LF . CR LF ends a message, in any mode, whatever the segmentation."""
import pytest

from harness import tls
from harness.box import Box
from harness.smtp import Smtp, mail, stuff
from harness.wait import wait_until

# What stands between the body and the smuggled dialogue.
FORMS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\n\n.\n", b"\r\r.\r",
         b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\r\n.\r\x00\n", b"\r\n.\r\r\n", b"\r\n.\n\r", b"\n.\n\r\n", b"\r\n\r.\r\n",
         b"\r\n\n.\n\r\n", b"\n\r.\r\n", b"\r\n.\x0b\r\n", b"\r\n.\x85\r\n", b"\r\n.\xe2\x80\xa8\r\n", b"\n.\xc2\x85.\n"]
# These look odd but hold no bare CR, LF or NUL: ordinary text.
PLAIN_TEXT = [b"\r\n .\r\n", b"\r\n.\t\r\n", b"\r\n. \r\n", b"\r\n..\r\n", b"\r\n.\x0b\r\n", b"\r\n.\x85\r\n",
              b"\r\n.\xe2\x80\xa8\r\n", b"\r\n\x0c.\r\n"]


@pytest.fixture(scope="module")
def smuggle(request):
    b = Box("smuggling")
    cert, key = tls.make(b.dir)
    b.normal_port = b.listen_port
    from harness.ports import free_port
    b.normalize_port = free_port()
    files = {"certificate": cert, "key": key}
    b.start(config={"ingress": {"listeners": [
        {"name": "reject", "address": f"127.0.0.1:{b.normal_port}", "tls": files},
        {"name": "normalize", "address": f"127.0.0.1:{b.normalize_port}", "tls": files, "line_endings": "normalize"},
    ]}})
    yield b
    b.close()


def connect(b, policy, encrypted):
    c = Smtp(("127.0.0.1", b.normal_port if policy == "reject" else b.normalize_port))
    if encrypted:
        c.starttls()
        c.ehlo()
    return c


def smuggled(n):
    return (b"MAIL FROM:<evil@src.example>\r\nRCPT TO:<evil%d@dest.example>\r\nDATA\r\nSubject: smuggled\r\n\r\n"
            b"inside%d\r\n.\r\n" % (n, n))


@pytest.mark.parametrize("write", ["whole", "trickle"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("policy", ["reject", "normalize"])
def test_forms(smuggle, policy, encrypted, write):
    b = smuggle
    with connect(b, policy, encrypted) as c:
        sent = []
        for n, form in enumerate(FORMS):
            rcpt = f"{policy}-{'tls' if encrypted else 'plain'}-{write}-{n}@dest.example"
            c.envelope("s@src.example", rcpt, " BODY=8BITMIME")
            c.expect("DATA", 354)
            data = mail(body="before") + form + smuggled(n)
            if write == "whole":
                c.send(data)
            else:
                c.trickle(data)
            r = c.reply()
            bare = form not in PLAIN_TEXT
            if policy == "reject" and bare:
                assert r == 550 and r.enhanced == "5.6.0", f"{form!r}: {r}"
            else:
                assert r == 250, f"{form!r}: {r}"
                sent.append((n, rcpt))
            # Exactly one reply, and nothing of the smuggled dialogue ran.
            c.expect("NOOP", 250)
            assert c.cmd("RCPT TO:<x@dest.example>") == 503
            c.expect("RSET", 250)
            if n % 6 == 5:
                c.close()
                c = connect(b, policy, encrypted)
        for n, rcpt in sent:
            t = b.sink.one(rcpt)
            assert b"inside%d\r\n" % n in t.content
        c.close()
    marker = f"marker-{policy}-{encrypted}-{write}@dest.example"
    with connect(b, policy, encrypted) as c:
        c.message("s@src.example", marker, mail())
    b.sink.one(marker)
    b.queue_empty()
    stolen = [t.rcpts for t in b.sink.all() if any(r.startswith("evil") for r in t.rcpts)]
    assert not stolen, stolen
    if policy == "reject":
        refused = [f"reject-{'tls' if encrypted else 'plain'}-{write}-{n}@dest.example" for n in range(len(FORMS))
                   if FORMS[n] not in PLAIN_TEXT]
        assert not [r for r in refused if b.sink.all(r)]


@pytest.mark.parametrize("policy", ["reject", "normalize"])
def test_text_that_only_looks_odd(smuggle, policy):
    b = smuggle
    for n, form in enumerate(PLAIN_TEXT):
        rcpt = f"odd-{policy}-{n}@dest.example"
        with connect(b, policy, False) as c:
            c.envelope("s@src.example", rcpt, " BODY=8BITMIME")
            c.expect("DATA", 354)
            c.send(mail(body="a") + form + b"b\r\n.\r\n")
            assert c.reply() == 250, form
        line = form[2:-2]
        if line.startswith(b"."):
            line = line[1:]
        assert b.sink.one(rcpt).content.endswith(b"\r\n\r\na\r\n" + line + b"\r\nb\r\n"), form


@pytest.mark.parametrize("policy", ["reject", "normalize"])
def test_terminator_at_once_and_in_pieces(smuggle, policy):
    """An empty message; and the terminator split over five segments."""
    b = smuggle
    with connect(b, policy, False) as c:
        c.envelope("s@src.example", f"empty-{policy}@dest.example")
        c.expect("DATA", 354)
        c.send(b".\r\n")
        assert c.reply() == 250
        c.envelope("s@src.example", f"pieces-{policy}@dest.example")
        c.expect("DATA", 354)
        c.send(mail(body="x"))
        for byte in (b"\r", b"\n", b".", b"\r", b"\n"):
            c.send(byte)
        assert c.reply() == 250
        c.expect("NOOP", 250)
    b.sink.one(f"empty-{policy}@dest.example")
    assert b.sink.one(f"pieces-{policy}@dest.example").content.endswith(b"\r\n\r\nx\r\n")


def test_genuine_terminator_beside_junk(smuggle):
    """CR CR LF . CR LF: a stray CR, then the genuine end. What follows is commands again."""
    b = smuggle
    for policy, code in (("reject", 550), ("normalize", 250)):
        with connect(b, policy, False) as c:
            c.envelope("s@src.example", f"junk-{policy}@dest.example")
            c.expect("DATA", 354)
            c.send(mail(body="x\r") + b"\r\n.\r\nNOOP\r\n")
            assert c.reply() == code
            assert c.reply() == 250


def test_normalized_lines(smuggle):
    b = smuggle
    with connect(b, "normalize", False) as c:
        c.envelope("s@src.example", "lines@dest.example")
        c.expect("DATA", 354)
        c.send(mail(body="") + b"a\nb\rc\n.\nd\r\n.\r\n")
        assert c.reply() == 250
    content = b.sink.one("lines@dest.example").content
    body = content.split(b"\r\n\r\n", 1)[1]
    assert b"\n" not in body.replace(b"\r\n", b"") and b"\r" not in body.replace(b"\r\n", b"")
    assert body.split() == [b"a", b"b", b"c", b".", b"d"]


def test_all_byte_values_survive(smuggle):
    """Dot stuffing both ways over every byte value at the start of a line."""
    b = smuggle
    lines = b"".join(bytes([v]) + b"x\r\n." + bytes([v]) + b"\r\n" for v in range(256) if v not in (0, 10, 13))
    with connect(b, "reject", False) as c:
        c.envelope("s@src.example", "bytes@dest.example", " BODY=8BITMIME")
        assert c.data(mail(body="") + lines) == 250
    assert b.sink.one("bytes@dest.example").content.endswith(b"\r\n\r\n" + lines)


def test_bdat_chunks_hide_no_end(smuggle):
    """Length framing: CR LF . CR LF inside a chunk is text; the next hop by DATA must not see an end there."""
    b = smuggle
    b.sink.extensions = [e for e in b.sink.extensions if e != "CHUNKING"]
    try:
        text = mail(body="a\r\n.\r\nMAIL FROM:<evil@src.example>\r\nRCPT TO:<evil@dest.example>\r\n")
        with connect(b, "reject", False) as c:
            c.envelope("s@src.example", "framed@dest.example")
            c.send(b"BDAT %d LAST\r\n" % len(text) + text)
            assert c.reply() == 250
        t = b.sink.one("framed@dest.example")
        assert t.content.endswith(text)
        wait_until(lambda: not b.messages(), 20, "queue empty")
    finally:
        b.sink.extensions.append("CHUNKING")


def test_stuffing_helper():
    assert stuff(b".a\r\n.\r\nb\r\n") == b"..a\r\n..\r\nb\r\n.\r\n"
