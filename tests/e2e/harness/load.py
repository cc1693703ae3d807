"""A load client that keeps books: for each message whether it got a 250, a refusal, or no answer."""
import asyncio
import hashlib
import random
import threading
import time
from dataclasses import dataclass, field

ACCEPTED, REFUSED, UNKNOWN, ABORTED = "accepted", "refused", "unknown", "aborted"


@dataclass
class Record:
    """One message. ABORTED: the final dot was never sent. UNKNOWN: it was, and no reply came,
    or one that leaves it open."""
    id: str
    rcpts: list
    digest: str
    outcome: str = ABORTED
    reply: str = ""
    queue_id: str = ""
    when: float = 0.0


@dataclass
class Books:
    records: list = field(default_factory=list)

    def count(self, outcome):
        return sum(1 for r in self.records if r.outcome == outcome)


class Load:
    """sessions connections send messages until stop(); content_of(id, rcpts) makes a message with that id in Message-ID."""

    def __init__(self, address, sessions=8, rcpts_of=None, size=2000, seed=0, pause=0.0):
        self.address, self.sessions, self.size, self.pause = address, sessions, size, pause
        self.rcpts_of = rcpts_of or (lambda n: [f"u{n}@dest.example"])
        self.rng = random.Random(seed)
        self.books = Books()
        self.next = 0
        self.stopping = False
        self.limit = None
        self.thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def start(self, limit=None):
        self.limit = limit
        self.thread.start()
        return self

    def stop(self, timeout=60):
        self.stopping = True
        return self.join(timeout)

    def join(self, timeout=300):
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the load client does not end"
        return self.books

    async def _main(self):
        await asyncio.gather(*(self._session() for _ in range(self.sessions)))

    def _done(self):
        return self.stopping or (self.limit is not None and self.next >= self.limit)

    def _make(self):
        n = self.next
        self.next += 1
        rcpts = self.rcpts_of(n)
        filler = bytes(self.rng.randrange(97, 123) for _ in range(64))
        lines = max(1, int(self.size * self.rng.uniform(0.5, 1.5)) // 66)
        content = (f"From: <s{n}@src.example>\r\nTo: <{rcpts[0]}>\r\nSubject: load {n}\r\n"
                   f"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <load{n}@src.example>\r\n\r\n").encode()
        content += (filler + b"\r\n") * lines
        record = Record(f"load{n}", rcpts, hashlib.sha256(content).hexdigest())
        self.books.records.append(record)
        return record, content

    async def _session(self):
        while not self._done():
            try:
                reader, writer = await asyncio.open_connection(*self.address, limit=1 << 20)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            try:
                await self._dialogue(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                await asyncio.sleep(0.02)
            finally:
                writer.close()

    async def _reply(self, reader):
        while True:
            line = (await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)).decode()
            if line[3:4] != "-":
                return int(line[:3]), line[4:].strip()

    async def _dialogue(self, reader, writer):
        async def say(text):
            writer.write(text.encode() + b"\r\n")
            return await self._reply(reader)

        if (await self._reply(reader))[0] != 220 or (await say("EHLO load.example"))[0] != 250:
            return
        while not self._done():
            record, content = self._make()
            if not await self._message(say, reader, writer, record, content):
                return
            if self.pause:
                await asyncio.sleep(self.pause)
        await say("QUIT")

    async def _message(self, say, reader, writer, record, content):
        """False when the connection should end."""
        for command in [f"MAIL FROM:<{record.id}@src.example>"] + [f"RCPT TO:<{r}>" for r in record.rcpts]:
            code, text = await say(command)
            if code != 250:
                return self._refused(record, code, text)
        code, text = await say("DATA")
        if code != 354:
            return self._refused(record, code, text)
        writer.write(content)
        await writer.drain()
        record.outcome = UNKNOWN  # from here on nobody but the reply can tell
        writer.write(b".\r\n")
        code, text = await self._reply(reader)
        record.when = time.time()
        record.reply = f"{code} {text}"
        if code == 250:
            record.outcome = ACCEPTED
            record.queue_id = text.split()[-1]
            return True
        # The queue died or timed out in between: the one refusal that says "perhaps stored".
        record.outcome = UNKNOWN if "did not confirm" in text else REFUSED
        return code != 421

    def _refused(self, record, code, text):
        record.outcome, record.reply = REFUSED, f"{code} {text}"
        return False
