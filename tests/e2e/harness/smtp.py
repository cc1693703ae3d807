"""A raw SMTP client: sends bytes exactly as they are given, reads replies strictly."""
import socket
import ssl
from dataclasses import dataclass


@dataclass
class Reply:
    code: int
    lines: list

    @property
    def text(self):
        return " ".join(self.lines)

    @property
    def enhanced(self):
        """x.y.z of the first line, or an empty string."""
        word = self.lines[0].split(" ", 1)[0]
        parts = word.split(".")
        return word if len(parts) == 3 and all(p.isdigit() for p in parts) else ""

    def __eq__(self, other):
        return self.code == other if isinstance(other, int) else NotImplemented

    def __str__(self):
        return f"{self.code} {' | '.join(self.lines)}"

    __repr__ = __str__


class Closed(ConnectionError):
    """The server closed the connection."""


class Smtp:
    """One connection. greet: read the greeting; helo: send EHLO with that name (None: do not)."""

    def __init__(self, address, timeout=20, source=None, greet=True, helo="client.example", tls=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(address)
        self.buffer = b""
        self.extensions = {}
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="mx.test.example")
        if greet:
            self.greeting = self.reply()
            if helo is not None and self.greeting == 220:
                self.ehlo(helo)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def trickle(self, data):
        """One write per byte."""
        for i in range(len(data)):
            self.send(data[i:i + 1])

    def line(self):
        while b"\r\n" not in self.buffer:
            try:
                got = self.sock.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError) as e:
                raise Closed("reset") from e
            if not got:
                raise Closed(f"end of input, {self.buffer!r} left")
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        assert b"\n" not in line and b"\r" not in line and b"\0" not in line, f"bare line end in a reply: {line!r}"
        assert len(line) <= 510, f"reply line too long: {line!r}"
        return line.decode("utf-8")

    def reply(self):
        lines = []
        while True:
            line = self.line()
            assert len(line) >= 3 and line[:3].isdigit() and line[3:4] in ("", " ", "-"), f"no reply: {line!r}"
            lines.append(line[4:])
            if line[3:4] != "-":
                return Reply(int(line[:3]), lines)

    def cmd(self, command):
        self.send(command if isinstance(command, bytes) else command.encode())
        self.send(b"\r\n")
        return self.reply()

    def expect(self, command, code):
        r = self.cmd(command)
        assert r == code, f"{command!r}: expected {code}, got {r}"
        return r

    def ehlo(self, name="client.example"):
        r = self.expect(f"EHLO {name}", 250)
        self.extensions = {w[0].upper(): w[1:] for w in (line.split() for line in r.lines[1:])}
        return r

    def starttls(self, context=None):
        self.expect("STARTTLS", 220)
        context = context or insecure()
        self.sock = context.wrap_socket(self.sock, server_hostname="mx.test.example")
        assert not self.buffer

    def envelope(self, sender, rcpts, params=""):
        self.expect(f"MAIL FROM:<{sender}>{params}", 250)
        for r in [rcpts] if isinstance(rcpts, str) else rcpts:
            self.expect(f"RCPT TO:<{r}>", 250)

    def data(self, content):
        """DATA with content dot-stuffed; returns the reply to the final dot."""
        self.expect("DATA", 354)
        self.send(stuff(content))
        return self.reply()

    def message(self, sender, rcpts, content, params=""):
        """A whole transaction that must succeed; returns the queue id of the 250."""
        self.envelope(sender, rcpts, params)
        r = self.data(content)
        assert r == 250, str(r)
        return queue_id(r)

    def at_eof(self):
        """True when the server closes without saying more."""
        try:
            return not self.buffer and self.sock.recv(1) == b""
        except (ConnectionResetError, ssl.SSLEOFError):
            return True

    def alive(self):
        return self.cmd("NOOP") == 250


def insecure():
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    return c


def queue_id(reply):
    """`2.0.0 Ok: queued as ID`"""
    words = reply.text.split()
    return words[words.index("as") + 1].rstrip(".")


def stuff(content):
    assert content == b"" or content.endswith(b"\r\n")
    out = content.replace(b"\r\n.", b"\r\n..")
    return (b"." if out.startswith(b".") else b"") + out + b".\r\n"


def mail(subject="test", body="hello\r\n", sender="s@src.example", to="r@dest.example", extra=""):
    """A small well-formed message."""
    return (f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
            f"Message-ID: <{subject.replace(' ', '.')}@src.example>\r\n{extra}\r\n{body}").encode()
