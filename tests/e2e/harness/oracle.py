"""The loss oracle: four records (client, sink, bounces, queue) against the promise.

I1 every message answered 250 is delivered, bounced or queued; I2 what is delivered was answered 250 or not at all; I3 what was
refused or broken off is never delivered; I4 the content arrives as it was sent; I5 copies beyond the first are excused only by
a deliverer that died between the final dot and its reply.
"""
import hashlib
import re
from collections import Counter, defaultdict

from .load import ABORTED, ACCEPTED, REFUSED, UNKNOWN

_ID = re.compile(rb"^Message-ID: <(load\d+)@", re.M | re.I)


class Oracle:
    """kills: list of (time, connections open at the sink) at which a deliverer was killed."""

    def __init__(self, books, transactions, queued_rcpts=(), bounced=(), kills=()):
        self.books = books
        self.kills = list(kills)
        self.queued = set(queued_rcpts)
        self.bounced = set(bounced)
        self.copies = defaultdict(list)  # (id, rcpt) -> transactions
        self.strange = []
        for t in transactions:
            m = _ID.search(t.content)
            if not m:
                self.strange.append(t)
                continue
            for r in t.rcpts:
                self.copies[m[1].decode(), r].append(t)

    def check(self):
        """Everything that is wrong, as text."""
        return self.lost() + self.phantoms() + self.damaged() + self.duplicates()

    def pairs(self, *outcomes):
        for r in self.books.records:
            if r.outcome in outcomes:
                for rcpt in r.rcpts:
                    yield r, rcpt

    def lost(self):
        return [f"I1 lost: {r.id} {rcpt} queue id {r.queue_id}" for r, rcpt in self.pairs(ACCEPTED)
                if (r.id, rcpt) not in self.copies and rcpt not in self.queued and rcpt not in self.bounced]

    def phantoms(self):
        known = {(r.id, rcpt): r for r, rcpt in self.pairs(ACCEPTED, UNKNOWN, REFUSED, ABORTED)}
        out = [f"I2 phantom: {key}" for key in self.copies if key not in known]
        out += [f"I3 {known[key].outcome} but delivered: {key} {known[key].reply}" for key in self.copies
                if key in known and known[key].outcome in (REFUSED, ABORTED)]
        return out

    def damaged(self):
        digests = {r.id: r.digest for r in self.books.records}
        out = []
        for (id_, rcpt), copies in self.copies.items():
            if id_ not in digests:
                continue
            for t in copies:
                sent = re.sub(rb"\AReceived:.*?\r\n(?![ \t])", b"", t.content, count=1, flags=re.S)
                if hashlib.sha256(sent).hexdigest() != digests[id_]:
                    out.append(f"I4 damaged: {id_} {rcpt}")
        return out

    def duplicates(self):
        out = []
        excused = Counter()
        for key, copies in self.copies.items():
            ordered = sorted(copies, key=lambda t: t.dot)
            for t in ordered[:-1]:
                kill = self.excuse(t)
                if kill is None:
                    out.append(f"I5 duplicate: {key}, {len(copies)} copies, dots at {[round(c.dot, 3) for c in ordered]}, "
                               f"kills at {[round(k, 3) for k, _ in self.kills]}")
                else:
                    excused[kill] += 1
        for kill, n in excused.items():
            # One transaction in the window per connection that was open.
            if n > max(1, self.kills[kill][1]):
                out.append(f"I5 {n} duplicates at one kill with {self.kills[kill][1]} open connections")
        return out

    def excuse(self, t, slack=0.5):
        """The kill that came while t's reply was on its way: the session ended there, with nothing said after t."""
        for i, (when, _) in enumerate(self.kills):
            if t.dot - 0.05 <= when <= (t.ended or when) + slack and t.session.closed and abs(t.session.closed - when) < 5:
                return i
        return None
