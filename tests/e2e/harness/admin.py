"""HTTP to a role's admin socket (unix or TCP), and the text of its metrics."""
import http.client
import json
import re
import socket
from urllib.parse import urlencode


class _Unix(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class ApiError(AssertionError):
    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body[:500]!r}")
        self.status = status
        self.body = body


class Admin:
    """address: unix:/path or host:port."""

    def __init__(self, address, timeout=20):
        self.address = address
        self.timeout = timeout

    def request(self, method, path, body=None, headers=None):
        if self.address.startswith("unix:"):
            c = _Unix(self.address[5:], self.timeout)
        else:
            host, port = self.address.rsplit(":", 1)
            c = http.client.HTTPConnection(host, int(port), timeout=self.timeout)
        try:
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, r.read(), r.headers
        finally:
            c.close()

    def get(self, path, **query):
        query = {k: v for k, v in query.items() if v is not None}
        status, body, _ = self.request("GET", path + ("?" + urlencode(query) if query else ""))
        if status != 200:
            raise ApiError(status, body)
        return json.loads(body)

    def post(self, path, body):
        status, text, _ = self.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        if status // 100 != 2:
            raise ApiError(status, text)
        return json.loads(text)

    def status_of(self, path):
        return self.request("GET", path)[0]

    def metrics(self):
        status, body, headers = self.request("GET", "/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain"), (status, headers["Content-Type"])
        return Metrics(body.decode())


class Metrics:
    _SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
    _LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.text = text
        self.samples = []
        for line in text.splitlines():
            if line and not line.startswith("#"):
                m = self._SAMPLE.match(line)
                assert m, f"no sample: {line!r}"
                self.samples.append((m[1], dict(self._LABEL.findall(m[2] or "")), float(m[3])))

    def sum(self, name, **labels):
        """Sum of all series of that name with these labels; fails when there is none."""
        found = [v for n, ls, v in self.samples if n == name and all(ls.get(k) == w for k, w in labels.items())]
        assert found, f"no series {name}{labels}"
        return sum(found)

    def names(self):
        return {n for n, _, _ in self.samples}
