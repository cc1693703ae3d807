"""A real DNS server (UDP and TCP) on loopback with zones a test can programme."""
import socket
import socketserver
import struct
import threading
import time

import dnslib
from dnslib import CLASS, QTYPE, RCODE, RR

from .ports import free_port


class Rule:
    """How a name misbehaves: rcode ('SERVFAIL', 'REFUSED'), silent, truncate over UDP, delay in seconds, or raw bytes."""

    def __init__(self, rcode=None, silent=False, truncate=False, delay=0.0, raw=None):
        self.rcode, self.silent, self.truncate, self.delay, self.raw = rcode, silent, truncate, delay, raw


class Dns:
    def __init__(self, host="127.0.0.1"):
        self.host, self.port = host, free_port((host,))
        self.records = {}  # (name, type) -> [RR]
        self.rules = {}    # name, or (name, type) -> Rule
        self.queries = []  # (time, protocol, name, type)
        self.lock = threading.Lock()
        server = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                out = server.answer(data, "udp")
                if out is not None:
                    sock.sendto(out, self.client_address)

        class Tcp(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.settimeout(5)
                try:
                    while True:
                        head = self.request.recv(2, socket.MSG_WAITALL)
                        if len(head) < 2:
                            return
                        data = self.request.recv(struct.unpack("!H", head)[0], socket.MSG_WAITALL)
                        out = server.answer(data, "tcp")
                        if out is None:
                            return
                        self.request.sendall(struct.pack("!H", len(out)) + out)
                except OSError:
                    return

        class UdpServer(socketserver.ThreadingUDPServer):
            daemon_threads = True

        class TcpServer(socketserver.ThreadingTCPServer):
            daemon_threads = allow_reuse_address = True

        self.servers = [UdpServer((host, self.port), Udp), TcpServer((host, self.port), Tcp)]
        for s in self.servers:
            threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        for s in self.servers:
            s.shutdown()
            s.server_close()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def zone(self, text, ttl=60):
        """Adds records in zone-file form with absolute names: `dest.example MX 10 mx.dest.example`."""
        for line in text.strip().splitlines():
            name, kind, *rest = line.split()
            rr = RR.fromZone(f"{name.rstrip('.')}. {ttl} IN {kind} {' '.join(self._absolute(kind, rest))}")[0]
            self.add(name, kind, rr)

    @staticmethod
    def _absolute(kind, rest):
        if kind in ("MX", "CNAME", "NS", "PTR"):
            rest = rest[:-1] + [rest[-1].rstrip(".") + "."]
        return rest

    def add(self, name, kind, rr):
        with self.lock:
            self.records.setdefault((name.rstrip(".").lower(), kind), []).append(rr)

    def remove(self, name, kind=None):
        with self.lock:
            for key in [k for k in self.records if k[0] == name.lower() and kind in (None, k[1])]:
                del self.records[key]

    def mx(self, domain, *hosts):
        """domain has these MX hosts: (preference, name, address...)."""
        for preference, name, *addresses in hosts:
            self.zone(f"{domain} MX {preference} {name}")
            for a in addresses:
                self.zone(f"{name} {'AAAA' if ':' in a else 'A'} {a}")

    def asked(self, name, kind=None):
        with self.lock:
            return [q for q in self.queries if q[2] == name.lower() and kind in (None, q[3])]

    def answer(self, data, protocol):
        try:
            request = dnslib.DNSRecord.parse(data)
        except Exception:
            return None
        name = str(request.q.qname).rstrip(".").lower()
        kind = QTYPE.get(request.q.qtype, str(request.q.qtype))
        with self.lock:
            self.queries.append((time.monotonic(), protocol, name, kind))
            rule = self.rules.get((name, kind)) or self.rules.get(name) or Rule()
        if rule.delay:
            threading.Event().wait(rule.delay)
        if rule.silent:
            return None
        if rule.raw is not None:
            return data[:2] + rule.raw
        reply = request.reply()
        reply.header.set_ra(1)
        if rule.rcode:
            reply.header.rcode = getattr(RCODE, rule.rcode)
        elif rule.truncate and protocol == "udp":
            reply.header.tc = 1
        else:
            self.fill(reply, name, kind)
        out = reply.pack()
        if protocol == "udp" and len(out) > 1232:
            short = request.reply()
            short.header.tc = 1
            out = short.pack()
        return out

    def fill(self, reply, name, kind):
        """Answers as a recursive server does: CNAMEs are followed, at most 16."""
        with self.lock:
            for _ in range(16):
                found = self.records.get((name, kind))
                if found:
                    for rr in found:
                        reply.add_answer(rr)
                    return
                cname = self.records.get((name, "CNAME"))
                if not cname:
                    break
                reply.add_answer(cname[0])
                name = str(cname[0].rdata.label).rstrip(".").lower()
            known = any(n == name or n.endswith("." + name) for n, _ in self.records)
        if not known:
            reply.header.rcode = RCODE.NXDOMAIN
        reply.add_auth(RR(".", QTYPE.SOA, CLASS.IN, 60,
                          dnslib.SOA("ns.example", "root.example", (1, 3600, 600, 86400, 1))))
