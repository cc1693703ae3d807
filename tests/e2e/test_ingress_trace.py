"""What we add to a message, and that we change nothing else (RFC 5321 4.4, RFC 5322)."""
import re
from email import message_from_bytes
from email.utils import parsedate_to_datetime

import pytest

from harness.smtp import mail

CONFIG = {}


def received(t):
    """Our Received field, unfolded; the rest of the message must be untouched behind it."""
    head, rest = re.match(rb"(Received:.*?\r\n(?:[ \t].*?\r\n)*)(.*)", t.content, re.S).groups()
    return re.sub(rb"\r\n[ \t]+", b" ", head).decode(), rest


def test_received_on_top(shared, session, fresh):
    text = mail(extra="Received: from old by older; Sat, 21 Nov 2026 09:00:00 +0000\r\nX-Odd:no space\r\n")
    id_ = session.message("s@src.example", fresh, text)
    line, rest = received(shared.sink.one(fresh))
    assert rest == text
    m = re.match(r"Received: from (\S+) \((.*)\) by (\S+)(?: \([^)]*\))? with (\S+) id (\S+) for <([^>]+)>; (.*)$", line.strip())
    assert m, line
    assert m[1] == "client.example" and "127.0.0.1" in m[2] and m[3] == "mx.test.example" and m[4] == "ESMTP"
    assert m[5], line
    assert m[6] == fresh
    assert parsedate_to_datetime(m[7]).tzinfo is not None
    assert id_


def test_no_for_with_several_recipients(shared, session, fresh):
    """Bcc recipients are not told of each other."""
    session.message("s@src.example", [fresh, "b-" + fresh], mail())
    line, _ = received(shared.sink.one(fresh))
    assert " for " not in line


def test_with_smtp_after_helo(shared, fresh):
    with shared.smtp(helo=None) as c:
        c.expect("HELO old.example", 250)
        c.message("s@src.example", fresh, mail())
    line, _ = received(shared.sink.one(fresh))
    assert " with SMTP id " in line and "from old.example " in line


@pytest.mark.parametrize("name", ["a(b", "a)b;c", 'a"b', "a\\b", "[127.0.0.1]", "x,y;z", "<a@b>"])
def test_helo_cannot_break_the_field(shared, fresh, name):
    with shared.smtp(helo=None) as c:
        if c.cmd(f"EHLO {name}") != 250:
            return
        c.message("s@src.example", fresh, mail("intact"))
    t = shared.sink.one(fresh)
    line, rest = received(t)
    assert rest == mail("intact")
    assert line.count("Received:") == 1
    assert message_from_bytes(t.content)["Subject"] == "intact"
    # Outside quoted strings and comments the name adds no structure: the date is what follows the last semicolon.
    assert parsedate_to_datetime(line.rsplit(";", 1)[1].strip())


def test_body_is_byte_exact(shared, session, fresh):
    weird = ("Subject: =?utf-8?q?x?=\r\nX-Empty:\r\nx-DUP: 1\r\nX-dup: 2\r\nX-Folded: a\r\n\tb\r\n  c\r\n"
             "No-Blank-After:x\r\n\r\n\r\n  leading\r\ntrailing  \r\n\r\n\r\n").encode()
    session.message("s@src.example", fresh, weird)
    _, rest = received(shared.sink.one(fresh))
    assert rest == weird


@pytest.mark.parametrize("content", [b"", b"\r\n", b"no header at all\r\n", b"\r\nbody only\r\n", b"Subject: x\r\n", b": odd\r\n\r\nx\r\n",
                                     b"Subject: x\r\n\r\n"])
def test_odd_messages(shared, session, fresh, content):
    session.message("s@src.example", fresh, content)
    _, rest = received(shared.sink.one(fresh))
    assert rest == content


def test_content_cannot_continue_our_field(shared, session, fresh):
    """A first line that begins with white space is kept apart from our Received field by an empty line."""
    content = b" id forged; never\r\n\r\nx\r\n"
    session.message("s@src.example", fresh, content)
    line, rest = received(shared.sink.one(fresh))
    assert rest == b"\r\n" + content and "forged" not in line


def test_eight_bit_without_8bitmime(shared, session, fresh):
    """By policy taken or refused with 5.6.7, never corrupted."""
    text = mail(body="gr\xfc\xdfe\r\n".encode("latin-1").decode("latin-1"))
    session.envelope("s@src.example", fresh)
    r = session.data(text)
    if r == 250:
        assert received(shared.sink.one(fresh))[1] == text
    else:
        assert r == 554 and r.enhanced == "5.6.7"


def test_return_path_is_not_added_nor_removed(shared, session, fresh):
    text = b"Return-Path: <old@x.example>\r\n" + mail()
    session.message("s@src.example", fresh, text)
    assert received(shared.sink.one(fresh))[1] == text
