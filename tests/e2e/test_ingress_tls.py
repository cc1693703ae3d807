"""STARTTLS: nothing crosses the handshake, in either direction."""
import socket
import ssl

import pytest

from harness import tls
from harness.box import Box
from harness.ports import free_port
from harness.smtp import Closed, Smtp, insecure, mail


@pytest.fixture(scope="module")
def secure(request):
    b = Box("tls")
    cert, key = tls.make(b.dir)
    b.implicit_port = free_port()
    files = {"certificate": cert, "key": key}
    b.start(config={"ingress": {"listeners": [
        {"name": "main", "address": f"127.0.0.1:{b.listen_port}", "tls": files},
        {"name": "smtps", "address": f"127.0.0.1:{b.implicit_port}", "tls": files, "implicit_tls": True},
    ], "timeouts": {"tls": "2s"}}})
    yield b
    b.close()


def test_message_over_tls(secure):
    with secure.smtp() as c:
        assert "STARTTLS" in c.extensions
        c.starttls()
        c.ehlo()
        assert "STARTTLS" not in c.extensions
        c.message("s@src.example", "tls@dest.example", mail())
        c.expect("QUIT", 221)
    received = secure.sink.one("tls@dest.example").header.decode().replace("\r\n\t", " ").replace("\r\n ", " ")
    assert "with ESMTPS" in received and "TLS" in received.split("with ESMTPS", 1)[1].split(";")[0]


def test_implicit_tls(secure):
    with Smtp(("127.0.0.1", secure.implicit_port), tls=insecure()) as c:
        assert "STARTTLS" not in c.extensions
        c.message("s@src.example", "smtps@dest.example", mail())
    secure.sink.one("smtps@dest.example")


@pytest.mark.parametrize("injected", [b"NOOP\r\n", b"EHLO evil.example\r\nMAIL FROM:<evil@src.example>\r\nRCPT TO:<evil@dest.example>\r\nDATA\r\n",
                                      b"RSET\r\n" * 50, b"x"])
def test_command_injection(secure, injected):
    """Bytes behind STARTTLS in the same segment are never used: dropped, or the connection is."""
    c = secure.smtp()
    c.send(b"STARTTLS\r\n" + injected)
    try:
        r = c.reply()
        if r != 220:
            assert r.code // 100 == 5
            return
        c.sock = insecure().wrap_socket(c.sock)
        # No reply may precede the first encrypted command.
        c.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            c.reply()
        c.sock.settimeout(10)
        c.ehlo("after.example")
        assert c.cmd("DATA") == 503
    except (Closed, ssl.SSLError, ConnectionError):
        pass
    finally:
        c.close()
    assert not secure.sink.all("evil@dest.example")


def test_state_is_void_after_tls(secure):
    with secure.smtp() as c:
        c.expect("MAIL FROM:<s@src.example>", 250)
        r = c.cmd("STARTTLS")
        if r == 220:
            c.sock = insecure().wrap_socket(c.sock)
            assert c.cmd("RCPT TO:<a@dest.example>") == 503
        else:
            assert r == 503, "inside a transaction it may be refused"
    with secure.smtp() as c:
        c.starttls()
        # What the client said before is forgotten: EHLO again.
        assert c.cmd("MAIL FROM:<s@src.example>") == 503
        c.ehlo()
        c.expect("MAIL FROM:<s@src.example>", 250)


def test_second_starttls(secure):
    with secure.smtp() as c:
        c.starttls()
        c.ehlo()
        assert c.cmd("STARTTLS").code in (503, 502, 500)
        assert c.alive()


def test_starttls_with_an_argument(secure):
    with secure.smtp() as c:
        assert c.cmd("STARTTLS now") == 501
        assert c.alive()


def test_garbage_for_a_client_hello(secure):
    for garbage in (b"NOOP\r\n" * 20, b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\x00" * 64):
        c = secure.smtp()
        c.expect("STARTTLS", 220)
        c.send(garbage)
        # Never a reply in clear after the handshake has begun: an alert, or the end.
        got = b""
        try:
            while True:
                d = c.sock.recv(4096)
                if not d:
                    break
                got += d
        except ConnectionError:
            pass
        assert not got or got[0] in (0x15, 0x16), got
        c.close()
    secure.submit("marker-garbage@dest.example")


def test_handshake_has_a_deadline(secure):
    c = secure.smtp()
    c.expect("STARTTLS", 220)
    c.send(b"\x16\x03\x01\x02\x00\x01")  # half a ClientHello, then silence
    c.sock.settimeout(15)
    try:
        while c.sock.recv(4096):
            pass
    except ConnectionError:
        pass
    c.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_are_refused(secure):
    context = insecure()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        context.set_ciphers("ALL:@SECLEVEL=0")
    except ssl.SSLError:
        pass
    c = secure.smtp()
    c.expect("STARTTLS", 220)
    with pytest.raises((ssl.SSLError, ConnectionError, OSError)):
        context.wrap_socket(c.sock)


def test_end_without_close_notify_is_no_message(secure):
    """FIN in the middle of DATA: the message ends at the dot or not at all."""
    with secure.smtp() as c:
        c.starttls()
        c.ehlo()
        c.envelope("s@src.example", "truncated@dest.example")
        c.expect("DATA", 354)
        c.send(b"Subject: x\r\n\r\nhalf\r\n")
        raw = c.sock.detach()
        socket.socket(fileno=raw).close()
    secure.submit("marker-truncated@dest.example")
    secure.sink.one("marker-truncated@dest.example")
    assert not secure.sink.all("truncated@dest.example")


def test_clear_text_after_close_notify_is_not_read(secure):
    with secure.smtp() as c:
        c.starttls()
        c.ehlo()
        c.envelope("s@src.example", "cleartext@dest.example")
        c.expect("DATA", 354)
        c.send(b"Subject: x\r\n\r\n")
        try:
            c.sock.settimeout(2)
            plain = c.sock.unwrap()
        except (ssl.SSLError, OSError, ValueError):
            return  # the server hung up, which is as good
        try:
            plain.sendall(b"in clear\r\n.\r\n")
            plain.settimeout(2)
            assert plain.recv(100) == b""
        except OSError:
            pass
    assert not secure.sink.all("cleartext@dest.example")


def test_large_message_over_tls(secure):
    body = "".join(f"{i:070d}\r\n" for i in range(30000))
    with secure.smtp(timeout=60) as c:
        c.starttls()
        c.ehlo()
        c.message("s@src.example", "large@dest.example", mail(body=body))
    assert secure.sink.one("large@dest.example", timeout=60).content.endswith(mail(body=body))
