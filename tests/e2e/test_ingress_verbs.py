"""Every verb of the SMTP server, in and out of sequence."""
import ssl

import pytest

from harness.smtp import Closed, Smtp, mail, queue_id, stuff
from harness.wait import wait_until

CONFIG = {"ingress": {"limits": {"command_line": "1KiB", "message_size": "1MiB"}}}


def test_greeting_and_ehlo(shared):
    with shared.smtp(helo=None) as c:
        assert c.greeting == 220 and c.greeting.lines[0].startswith("mx.test.example ESMTP")
        r = c.ehlo()
        assert r.lines[0].split()[0] == "mx.test.example"
        assert {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES", "DSN",
                "HELP"} <= set(c.extensions)
        assert c.extensions["SIZE"] == [str(1 << 20)]
        # No certificate, no users.
        assert "STARTTLS" not in c.extensions and "AUTH" not in c.extensions


def test_helo_is_one_line(shared):
    with shared.smtp(helo=None) as c:
        r = c.expect("HELO client.example", 250)
        assert len(r.lines) == 1


@pytest.mark.parametrize("name", ["client.example", "[127.0.0.1]", "[IPv6:::1]", "a_b.example", "localhost", "x" * 60 + ".example"])
def test_ehlo_names_taken(shared, name):
    with shared.smtp(helo=None) as c:
        c.expect(f"EHLO {name}", 250)


@pytest.mark.parametrize("name", ["", " ", "a b", "a\tb.example", "ex\xc3\xa4mple".encode("latin-1").decode("latin-1"), "x" * 300, "a\x01b"])
def test_ehlo_names_refused(shared, name):
    with shared.smtp(helo=None) as c:
        r = c.cmd(b"EHLO " + name.encode("latin-1"))
        assert r.code in (500, 501), str(r)
        c.expect("EHLO client.example", 250)


def test_sequence(session):
    c = session
    for command in ("RCPT TO:<a@dest.example>", "DATA"):
        assert c.cmd(command) == 503
    c.expect("MAIL FROM:<s@src.example>", 250)
    assert c.cmd("MAIL FROM:<t@src.example>") == 503
    assert c.cmd("DATA").code in (503, 554)
    c.expect("RCPT TO:<a@dest.example>", 250)
    c.expect("RSET", 250)
    assert c.cmd("RCPT TO:<a@dest.example>") == 503
    c.expect("QUIT", 221)
    assert c.at_eof()


def test_mail_needs_greeting(shared):
    with shared.smtp(helo=None) as c:
        assert c.cmd("MAIL FROM:<s@src.example>") == 503
        c.expect("NOOP", 250)
        c.expect("RSET", 250)
        c.expect("EHLO client.example", 250)
        c.expect("MAIL FROM:<s@src.example>", 250)


def test_ehlo_and_rset_clear_the_transaction(session):
    c = session
    for clear in ("EHLO again.example", "HELO again.example", "RSET"):
        c.envelope("s@src.example", "a@dest.example")
        c.expect(clear, 250)
        assert c.cmd("RCPT TO:<a@dest.example>") == 503
        assert c.cmd("DATA").code in (503, 554)


def test_harmless_verbs(session):
    c = session
    c.expect("NOOP", 250)
    c.expect("NOOP with an argument", 250)
    assert c.cmd("HELP") == 214
    assert c.cmd("VRFY postmaster") == 252
    assert c.cmd("VRFY") == 501
    assert c.cmd("EXPN staff").code in (502, 550)
    c.expect("RSET", 250)


def test_verbs_ignore_case_and_trailing_space(session):
    c = session
    for command in ("noop", "NoOp", "NOOP  ", "rset ", "mail from:<s@src.example>", "Rcpt To:<a@dest.example> ", "rSeT"):
        c.expect(command, 250)


@pytest.mark.parametrize("command", ["RSET now", "DATA now", "QUIT now", "MAIL", "RCPT", "MAIL FROM", "MAIL TO:<a@b.example>",
                                     "MAIL FROM <a@b.example>", "RCPT FROM:<a@b.example>"])
def test_arguments_are_checked(session, command):
    session.expect("MAIL FROM:<s@src.example>", 250)
    session.expect("RCPT TO:<a@dest.example>", 250)
    r = session.cmd(command)
    assert r.code in (501, 503), str(r)
    assert session.alive()


@pytest.mark.parametrize("verb", ["TURN", "LHLO x.example", "AUTH PLAIN AGEAYg==", "STARTTLS", "XCLIENT ADDR=1.2.3.4", "FOO", "MAILX",
                                  "MA IL", " NOOP", "", "XFORWARD NAME=x", "ETRN x.example"])
def test_verbs_not_offered(session, verb):
    r = session.cmd(verb)
    assert r.code in (500, 502, 503, 550), str(r)
    assert session.alive()


def test_enhanced_codes_after_ehlo(session, fresh):
    c = session
    assert c.greeting.enhanced == ""
    for command in ("NOOP", "RSET", "BOGUS", "MAIL FROM:<>", "MAIL FROM:<>", "RCPT TO:<nobody", f"RCPT TO:<{fresh}>", "VRFY x"):
        r = c.cmd(command)
        assert r.enhanced.startswith(f"{r.code // 100}."), f"{command}: {r}"
    r = c.expect("DATA", 354)
    assert r.enhanced == ""
    c.send(stuff(mail()))
    r = c.reply()
    assert r == 250 and r.enhanced == "2.0.0"
    assert c.cmd("QUIT").enhanced == "2.0.0"


def test_one_message_and_the_next(shared, session, fresh):
    first, second = mail("first"), mail("second", body=".dot\r\n..\r\n.\r\n...x\r\n")
    assert session.message("s@src.example", fresh, first) != session.message("", fresh, second)
    got = shared.sink.wait(fresh, 2)
    assert sorted(t.sender for t in got) == ["", "s@src.example"]
    for t in got:
        assert t.content.endswith(second if t.sender == "" else first)


def test_mixed_recipients(shared, session, fresh):
    c = session
    c.expect("MAIL FROM:<s@src.example>", 250)
    c.expect(f"RCPT TO:<{fresh}>", 250)
    assert c.cmd("RCPT TO:<bad address@x>").code in (501, 553)
    c.expect(f"RCPT TO:<second-{fresh}>", 250)
    assert c.data(mail()) == 250
    t = shared.sink.one(fresh)
    assert sorted(t.rcpts) == sorted([fresh, "second-" + fresh])


def test_pipelined_group_is_answered_in_order(shared, session, fresh):
    session.send(f"RSET\r\nMAIL FROM:<s@src.example>\r\nRCPT TO:<{fresh}>\r\nRCPT TO:<@>\r\nDATA\r\n")
    codes = [session.reply().code for _ in range(5)]
    assert codes[:3] == [250, 250, 250] and codes[3] in (501, 553) and codes[4] == 354
    session.send(stuff(mail()) + b"NOOP\r\nQUIT\r\n")
    assert [session.reply().code for _ in range(3)] == [250, 250, 221]
    shared.sink.one(fresh)


def test_pipelined_group_without_recipients(session):
    """RFC 2920: all RCPT failed, DATA is refused, and what follows is commands again."""
    session.send(b"MAIL FROM:<s@src.example>\r\nRCPT TO:<@>\r\nDATA\r\nNOOP\r\n")
    codes = [session.reply().code for _ in range(4)]
    assert codes[0] == 250 and codes[1] in (501, 553) and codes[2] in (503, 554) and codes[3] == 250


def test_commands_byte_by_byte(shared, session, fresh):
    session.trickle(f"MAIL FROM:<s@src.example>\r\nRCPT TO:<{fresh}>\r\nDATA\r\n".encode())
    assert [session.reply().code for _ in range(3)] == [250, 250, 354]
    session.trickle(stuff(mail(body="..\r\n.x\r\n")))
    assert session.reply() == 250
    assert shared.sink.one(fresh).content.endswith(b"\r\n\r\n..\r\n.x\r\n")


def test_bare_newline_does_not_end_a_command(session):
    for junk in (b"NOOP\nNOOP\r\n", b"NOOP\rNOOP\r\n", b"NOOP\n\r\n", b"NO\x00OP\r\n", b"NOOP \xff\xfe\r\n",
                 b"MAIL FROM:<a@b.example>\nRCPT TO:<c@d.example>\r\n"):
        session.send(junk)
        r = session.reply()
        assert r.code in (500, 501), f"{junk!r}: {r}"
        assert session.alive()
    assert session.cmd("RCPT TO:<c@d.example>") == 503


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /x HTTP/1.0\r\n\r\n", b"CONNECT a:25 HTTP/1.1\r\n\r\n"])
def test_other_protocols_are_hung_up_on(shared, hello):
    with shared.smtp(helo=None) as c:
        c.send(hello)
        r = c.reply()
        assert r.code in (521, 554), str(r)
        assert c.at_eof()


def test_tls_hello_on_a_plain_port(shared):
    with pytest.raises((ssl.SSLError, ConnectionError, Closed)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        Smtp(shared.address, tls=context)
    shared.submit("after-tls-hello@dest.example")


def test_talking_before_the_ehlo_reply(shared):
    """A client that does not wait for the reply to EHLO is no mail server (RFC 2920 3.1: EHLO ends a group)."""
    with shared.smtp(helo=None) as c:
        c.send(b"EHLO client.example\r\nMAIL FROM:<s@src.example>\r\nRCPT TO:<early@dest.example>\r\nDATA\r\n")
        codes = []
        try:
            while True:
                codes.append(c.reply().code)
        except Closed:
            pass
        assert 354 not in codes and 554 in codes, codes


def test_command_line_limit(session):
    longest = "NOOP " + "x" * (1024 - 2 - 5)
    session.expect(longest, 250)
    r = session.cmd(longest + "x")
    assert r == 500 and r.enhanced == "5.5.2", str(r)
    assert session.alive()
    # One reply for one line however long, and the next line is a command again.
    session.send(b"NOOP " + b"y" * 3000 + b"\r\nNOOP\r\n")
    assert session.reply() == 500
    assert session.reply() == 250


def test_flood_without_newline_is_cut(shared):
    with shared.smtp() as c:
        with pytest.raises((ConnectionError, BrokenPipeError)):
            for _ in range(400):
                c.send(b"x" * 65536)
                c.sock.setblocking(True)
            c.reply()
            while True:
                c.reply()
    assert shared.processes["ingress"].running()


def test_reset_in_every_state(shared):
    """A client that vanishes takes nothing with it and leaves nothing behind."""
    steps = [b"EHLO x.example\r\n", b"MAIL FROM:<s@src.example>\r\n", b"RCPT TO:<gone@dest.example>\r\n", b"DATA\r\n",
             b"Subject: x\r\n\r\nhalf a mess"]
    for n in range(len(steps) + 1):
        c = shared.smtp(helo=None)
        for s in steps[:n]:
            c.send(s)
            if not s.startswith(b"Subject"):
                c.reply()
        c.reset()
    shared.submit("marker-reset@dest.example")
    shared.sink.one("marker-reset@dest.example")
    shared.queue_empty()
    assert not shared.sink.all("gone@dest.example")


def test_half_close_mid_data_is_no_message(shared):
    with shared.smtp() as c:
        c.envelope("s@src.example", "halfclose@dest.example")
        c.expect("DATA", 354)
        c.send(b"Subject: x\r\n\r\nno end\r\n")
        c.sock.shutdown(1)
        try:
            assert c.reply().code // 100 in (4, 5)
        except Closed:
            pass
    shared.submit("marker-halfclose@dest.example")
    shared.sink.one("marker-halfclose@dest.example")
    assert not shared.sink.all("halfclose@dest.example", accepted=False)


def test_quit_pipelined_behind_the_dot(shared, session, fresh):
    session.envelope("s@src.example", fresh)
    session.expect("DATA", 354)
    session.send(stuff(mail()) + b"QUIT\r\n")
    assert queue_id(session.reply())
    assert session.reply() == 221
    shared.sink.one(fresh)


def test_shutdown_answers_421(box):
    box.start()
    idle = box.smtp()
    busy = box.smtp()
    busy.envelope("s@src.example", "last@dest.example")
    busy.expect("DATA", 354)
    busy.send(b"Subject: last\r\n\r\n")
    box.processes["ingress"].popen.terminate()
    assert idle.reply() == 421
    # A message under way may be finished.
    busy.send(b"words\r\n.\r\n")
    assert busy.reply() == 250
    assert busy.reply() == 421
    wait_until(lambda: not box.processes["ingress"].running(), 20, "ingress ended")
    assert box.processes["ingress"].popen.returncode == 0
    assert box.sink.one("last@dest.example").content.endswith(b"words\r\n")
