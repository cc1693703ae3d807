"""An SMTP and LMTP server that catches mail, records every byte of it, misbehaves on demand and is strict with its client.

Rules say what happens at a stage. A stage is connect, ehlo, helo, lhlo, starttls, mail, rcpt, data (the command), eod (after
the final dot or the last BDAT chunk; once per recipient with LMTP), bdat (a chunk that is not the last), rset, noop, quit.
A rule is one of
    "451 4.3.0 busy"    this reply (several lines: "250-a\\r\\n250 b")
    Drop()              close without a word; Drop(reset=True) with RST
    Raw(b"...")         these bytes as they are, then go on
    Hang()              say nothing until the client gives up
    Slow(s, rule=None)  wait s seconds, then the rule
    Hold(event, rule=None)  wait for a threading.Event, then the rule
    Close(reply)        this reply, then close
    callable(session, argument) -> a rule or None (the ordinary reply)
    a list: one per use, then the ordinary reply
"""
import asyncio
import os
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

from .wait import wait_until


@dataclass
class Drop:
    reset: bool = False


@dataclass
class Raw:
    data: bytes


@dataclass
class Hang:
    pass


@dataclass
class Slow:
    seconds: float
    rule: object = None


@dataclass
class Hold:
    event: threading.Event
    rule: object = None


@dataclass
class Close:
    reply: str


class _End(Exception):
    """The connection ends here."""


@dataclass
class Transaction:
    session: object
    sender: str = ""
    sender_params: dict = field(default_factory=dict)
    rcpts: list = field(default_factory=list)        # accepted ones
    rcpt_params: list = field(default_factory=list)  # in the order of rcpts
    refused: list = field(default_factory=list)      # (recipient, reply)
    content: bytes = b""                             # dots removed
    raw: bytes = b""                                 # as it came, terminator included (DATA only)
    chunks: list = field(default_factory=list)       # BDAT sizes; empty for DATA
    reply: str = ""                                  # to the final dot
    started: float = 0.0
    dot: float = 0.0                                 # time of the final dot or last chunk
    ended: float = 0.0                               # time the reply was written

    @property
    def accepted(self):
        return self.reply.startswith("250")

    @property
    def header(self):
        return self.content.split(b"\r\n\r\n", 1)[0] + b"\r\n"

    @property
    def body(self):
        return self.content.split(b"\r\n\r\n", 1)[1]


@dataclass
class Session:
    number: int
    peer: tuple
    opened: float
    closed: float = 0.0
    helo: str = ""
    protocol: str = ""
    tls: str = ""
    commands: list = field(default_factory=list)
    transactions: int = 0
    pipelined: int = 0  # commands that had another one right behind them


DEFAULT_EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING")


class Sink:
    """host and port, or path for a unix socket. tls: an ssl.SSLContext offers STARTTLS."""

    def __init__(self, host="127.0.0.2", port=0, path=None, lmtp=False, rules=None, extensions=DEFAULT_EXTENSIONS, tls=None,
                 close_after=None, name="sink.example", strict=True, keep_content=True):
        self.host, self.port, self.path, self.lmtp, self.tls, self.name = host, port, path, lmtp, tls, name
        self.rules = dict(rules or {})
        self.extensions = list(extensions)
        self.close_after = close_after  # transactions per connection, then 421
        self.strict = strict
        self.keep_content = keep_content
        self.lock = threading.Lock()
        self.transactions = []  # finished ones, refused at the dot included
        self.sessions = []
        self.violations = []    # what no client of ours may do
        self.open = self.max_open = 0
        self.listening = False
        self._tasks = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.up()

    # ---- control

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def up(self):
        """Starts listening (again)."""
        self._call(self._listen())

    def down(self, drop=True):
        """Stops listening: connections are refused. drop: open ones are reset."""
        self._call(self._unlisten(drop))

    def close(self):
        if self._thread.is_alive():
            self.down()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    async def _listen(self):
        if self.listening:
            return
        if self.path:
            if os.path.exists(self.path):
                os.unlink(self.path)
            self.server = await asyncio.start_unix_server(self._serve, self.path)
        else:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            self.server = await asyncio.start_server(self._serve, self.host, self.port, family=family, backlog=1024,
                                                     reuse_address=True, limit=1 << 20)
            self.port = self.server.sockets[0].getsockname()[1]
        self.listening = True

    async def _unlisten(self, drop):
        if self.listening:
            self.listening = False
            self.server.close()
        if drop:
            for t in list(self._tasks):
                t.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=5)

    # ---- what tests look at

    def all(self, rcpt=None, accepted=True):
        """Transactions (for that recipient)."""
        with self.lock:
            return [t for t in self.transactions if (t.accepted or not accepted)
                    and (rcpt is None or rcpt in t.rcpts)]

    def wait(self, rcpt=None, n=1, timeout=30):
        """The transactions for rcpt once there are n."""
        wait_until(lambda: len(self.all(rcpt)) >= n, timeout, lambda: f"{n} messages for {rcpt}, have "
                   f"{len(self.all(rcpt))} (of {len(self.all())} in all)")
        return self.all(rcpt)

    def one(self, rcpt=None, timeout=30):
        """The only transaction for rcpt."""
        got = self.wait(rcpt, 1, timeout)
        assert len(got) == 1, f"{len(got)} copies for {rcpt}"
        return got[0]

    # ---- the server

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        peer = writer.get_extra_info("peername")
        session = Session(len(self.sessions), peer, time.time())
        with self.lock:
            self.sessions.append(session)
            self.open += 1
            self.max_open = max(self.max_open, self.open)
        try:
            await _Connection(self, session, reader, writer).run()
        except (_End, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            with self.lock:
                self.open -= 1
            session.closed = time.time()
            self._tasks.discard(task)
            writer.close()

    def violation(self, session, what):
        with self.lock:
            self.violations.append(f"{self.name}: session {session.number}: {what}")


class _Connection:
    def __init__(self, sink, session, reader, writer):
        self.sink, self.session, self.reader, self.writer = sink, session, reader, writer
        self.buffer = b""
        self.t = None
        self.features = set()
        self.used = {}

    # -- bytes

    async def fill(self):
        data = await self.reader.read(262144)
        if not data:
            raise _End
        self.buffer += data

    async def line(self):
        while b"\n" not in self.buffer:
            if len(self.buffer) > 8192:
                self.sink.violation(self.session, "command line over 8 KiB")
                raise _End
            await self.fill()
        line, self.buffer = self.buffer.split(b"\n", 1)
        if not line.endswith(b"\r") or b"\r" in line[:-1] or b"\0" in line:
            self.sink.violation(self.session, f"bare CR, LF or NUL in a command: {line!r}")
        line = line.rstrip(b"\r")
        if len(line) > 2046:
            self.sink.violation(self.session, f"command line of {len(line)} octets")
        return line

    async def write(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def say(self, reply):
        await self.write(reply.encode() + b"\r\n")
        return reply

    def quiet(self, what):
        """The client must not have sent anything beyond this point."""
        if self.buffer and self.sink.strict:
            self.sink.violation(self.session, f"data before the reply to {what}: {self.buffer[:80]!r}")

    # -- rules

    async def act(self, stage, argument, ordinary):
        """Does what the rules say at a stage; returns the reply that was sent."""
        rule = self.sink.rules.get(stage)
        if isinstance(rule, list):
            with self.sink.lock:
                rule = rule.pop(0) if rule else None
        return await self.follow(rule, argument, ordinary)

    async def follow(self, rule, argument, ordinary):
        if callable(rule):
            return await self.follow(rule(self.session, argument), argument, ordinary)
        if rule is None:
            return await self.say(ordinary) if ordinary else ""
        if isinstance(rule, str):
            return await self.say(rule)
        if isinstance(rule, Raw):
            await self.write(rule.data)
            return rule.data.decode("latin-1")
        if isinstance(rule, Slow):
            await asyncio.sleep(rule.seconds)
            return await self.follow(rule.rule, argument, ordinary)
        if isinstance(rule, Hold):
            await asyncio.get_running_loop().run_in_executor(None, rule.event.wait, 300)
            return await self.follow(rule.rule, argument, ordinary)
        if isinstance(rule, Hang):
            while True:
                await self.fill()
        if isinstance(rule, Close):
            await self.say(rule.reply)
            raise _End
        if isinstance(rule, Drop):
            if rule.reset:
                self.writer.transport.abort()
            raise _End
        raise TypeError(rule)

    # -- dialogue

    async def run(self):
        if self.buffer:
            self.sink.violation(self.session, "data before the greeting")
        if not (await self.act("connect", None, f"220 {self.sink.name} ESMTP")).startswith("2"):
            await self.refused_session()
        while True:
            line = await self.line()
            self.session.commands.append(line.decode("utf-8", "replace"))
            verb, _, argument = line.decode("utf-8", "surrogateescape").partition(" ")
            handler = getattr(self, "do_" + verb.lower(), None)
            if handler is None:
                self.sink.violation(self.session, f"unknown command {line!r}")
                await self.say("500 5.5.2 unknown")
            else:
                await handler(argument)

    async def refused_session(self):
        """After a greeting that is no 220 only QUIT is in order."""
        line = await self.line()
        self.session.commands.append(line.decode("utf-8", "replace"))
        if line.upper() != b"QUIT":
            self.sink.violation(self.session, f"{line!r} after a negative greeting")
        raise _End

    async def do_ehlo(self, name, stage="ehlo"):
        self.quiet(stage.upper())
        self.session.helo, self.session.protocol = name, stage
        extensions = list(self.sink.extensions)
        if self.sink.tls and not self.session.tls:
            extensions.append("STARTTLS")
        self.features = {e.split()[0].upper() for e in extensions}
        lines = [self.sink.name] + extensions
        await self.act(stage, name, "\r\n".join(f"250{'-' if i < len(lines) - 1 else ' '}{w}" for i, w in enumerate(lines)))

    async def do_lhlo(self, name):
        await self.do_ehlo(name, "lhlo")

    async def do_helo(self, name):
        self.quiet("HELO")
        self.session.helo, self.session.protocol, self.features = name, "helo", set()
        await self.act("helo", name, f"250 {self.sink.name}")

    async def do_starttls(self, _):
        self.quiet("STARTTLS")
        if not (await self.act("starttls", None, "220 2.0.0 go ahead")).startswith("220"):
            return
        self.buffer = b""
        # StreamWriter.start_tls came with Python 3.11.
        await self.writer.start_tls(self.sink.tls)
        self.session.tls = self.writer.get_extra_info("ssl_object").version()
        self.features = set()

    def params(self, words):
        return {k.upper(): v for k, _, v in (w.partition("=") for w in words)}

    def may_pipeline(self, what):
        if "PIPELINING" not in self.features:
            self.quiet(what)
        elif self.buffer:
            self.session.pipelined += 1

    async def do_mail(self, argument):
        self.may_pipeline("MAIL")
        m = re.match(r"FROM:<([^>]*)>(.*)$", argument, re.I)
        if not m:
            self.sink.violation(self.session, f"MAIL {argument!r}")
            await self.say("501 5.5.4 syntax")
            return
        self.t = Transaction(self.session, m[1], self.params(m[2].split()), started=time.time())
        for p in self.t.sender_params:
            need = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN"}.get(p)
            if need not in self.features:
                self.sink.violation(self.session, f"MAIL parameter {p} was not offered")
        if not (await self.act("mail", argument, "250 2.1.0 ok")).startswith("250"):
            self.t = None

    async def do_rcpt(self, argument):
        self.may_pipeline("RCPT")
        m = re.match(r"TO:<((?:\"(?:\\.|[^\"\\])*\"|[^>])*)>(.*)$", argument, re.I)
        if not m:
            self.sink.violation(self.session, f"RCPT {argument!r}")
            await self.say("501 5.5.4 syntax")
            return
        if self.t is None:
            await self.say("503 5.5.1 MAIL first")
            return
        params = self.params(m[2].split())
        if params and "DSN" not in self.features:
            self.sink.violation(self.session, f"RCPT parameters {list(params)} were not offered")
        reply = await self.act("rcpt", m[1], "250 2.1.5 ok")
        if reply.startswith("25"):
            self.t.rcpts.append(m[1])
            self.t.rcpt_params.append(params)
        else:
            self.t.refused.append((m[1], reply))

    async def do_data(self, argument):
        self.quiet("DATA")
        if self.t is None or not self.t.rcpts:
            await self.act("data_empty", None, "503 5.5.1 no valid recipients")
            return
        if not (await self.act("data", None, "354 go")).startswith("354"):
            self.t = None
            return
        raw = await self.read_data()
        self.t.dot = time.time()
        self.check_data(raw)
        self.t.raw = raw if self.sink.keep_content else b""
        content = raw[:-3]
        content = content[1:] if content.startswith(b".") else content
        self.t.content = content.replace(b"\r\n..", b"\r\n.") if self.sink.keep_content else b""
        await self.finish()

    async def read_data(self):
        parts, tail = [], b"\r\n"
        while True:
            joined = tail + self.buffer
            at = joined.find(b"\r\n.\r\n")
            if at >= 0:
                end = at + 5 - len(tail)
                parts.append(self.buffer[:end])
                self.buffer = self.buffer[end:]
                return b"".join(parts)
            parts.append(self.buffer)
            tail = joined[-4:]
            self.buffer = b""
            await self.fill()

    def check_data(self, raw):
        """What our client never emits, whatever came in."""
        say = lambda what: self.sink.violation(self.session, f"outbound data: {what}")
        text = raw.replace(b"\r\n", b"")
        if b"\n" in text or b"\r" in text:
            say("bare CR or LF")
        if b"\0" in raw:
            say("NUL")
        if any(len(line) > 998 + 1 for line in raw.split(b"\r\n")):  # one more for a doubled dot
            say("line over 998 octets")
        if any(c >= 0x80 for c in raw) and "8BITMIME" not in self.features:
            say("8-bit without 8BITMIME")

    async def do_bdat(self, argument):
        words = argument.upper().split()
        size, last = int(words[0]), words[1:] == ["LAST"]
        parts, self.buffer = [self.buffer], b""
        got = len(parts[0])
        while got < size:
            await self.fill()
            parts.append(self.buffer)
            got += len(self.buffer)
            self.buffer = b""
        whole = b"".join(parts)
        chunk, self.buffer = whole[:size], whole[size:]
        if "CHUNKING" not in self.features:
            self.sink.violation(self.session, "BDAT without CHUNKING")
        if self.t is None or not self.t.rcpts:
            await self.act("data_empty", None, "503 5.5.1 no valid recipients")
            return
        self.t.chunks.append(size)
        if self.sink.keep_content:
            self.t.content += chunk
        if last:
            self.t.dot = time.time()
            if "BINARYMIME" not in self.features:
                self.check_data(self.t.content)
            await self.finish()
        else:
            await self.act("bdat", size, f"250 2.0.0 {size} octets")

    async def finish(self):
        t, self.t = self.t, None
        for rcpt in (t.rcpts if self.sink.lmtp else [None]):
            # The record is there before the reply is: what dies in between is delivered.
            stage = self.act("eod", rcpt if self.sink.lmtp else t, "250 2.0.0 ok: caught")
            if self.sink.rules.get("eod") is None and not t.reply:
                t.reply = "250 2.0.0 ok: caught"
                self.record(t)
                await stage
            else:
                reply = await stage
                if not t.reply or (self.sink.lmtp and reply.startswith("250")):
                    t.reply = reply
                if self.sink.lmtp and not reply.startswith("250"):
                    t.refused.append((rcpt, reply))
        t.rcpts = [r for r in t.rcpts if r not in [x for x, _ in t.refused]]
        self.record(t)
        t.ended = time.time()
        self.session.transactions += 1
        if self.sink.close_after and self.session.transactions >= self.sink.close_after:
            await self.say("421 4.4.2 enough for one connection")
            raise _End

    def record(self, t):
        with self.sink.lock:
            if not any(x is t for x in self.sink.transactions[-200:]):
                self.sink.transactions.append(t)

    async def do_rset(self, _):
        self.may_pipeline("RSET")
        self.t = None
        await self.act("rset", None, "250 2.0.0 ok")

    async def do_noop(self, _):
        self.quiet("NOOP")
        await self.act("noop", None, "250 2.0.0 ok")

    async def do_quit(self, _):
        self.quiet("QUIT")
        await self.act("quit", None, "221 2.0.0 bye")
        raise _End
