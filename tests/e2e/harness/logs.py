"""A daemon's log: lines `TIME LEVEL PROGRAM EVENT key=value ...` as records."""
import json
import re

_PAIR = re.compile(r'([A-Za-z0-9_.]+)=("(?:[^"\\]|\\.)*"|\S*)')


def parse(line):
    """The record of a line, or None for what is no log line (sanitizer reports, messages of libraries)."""
    words = line.rstrip("\n").split(" ", 4)
    if len(words) < 4 or not re.match(r"\d{4}-\d\d-\d\dT", words[0]):
        return None
    record = {"time": words[0], "level": words[1], "program": words[2], "event": words[3]}
    for key, value in _PAIR.findall(words[4] if len(words) > 4 else ""):
        record[key] = json.loads(value) if value.startswith('"') else value
    return record


class Log:
    def __init__(self, path):
        self.path = path

    def text(self):
        try:
            with open(self.path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def records(self):
        return [r for r in map(parse, self.text().splitlines()) if r]

    def events(self, event=None, **fields):
        """Records of that event whose fields have these values (compared as text)."""
        return [r for r in self.records() if (event is None or r["event"] == event)
                and all(r.get(k) == str(v) for k, v in fields.items())]

    def tail(self, n=60):
        return "\n".join(self.text().splitlines()[-n:])
