"""Free ports. Each worker of a parallel run has a range of its own below the kernel's ephemeral ports."""
import os
import random
import socket

_FIRST, _SPAN = 10000, 2500
_worker = int((os.environ.get("PYTEST_XDIST_WORKER") or "gw0")[2:]) % 8
_next = random.SystemRandom().randrange(_SPAN)


def _usable(port, hosts):
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
            except OSError:
                return False
    return True


def free_port(hosts=("127.0.0.1",)):
    """A TCP port that is free on each of the addresses (and, being ours alone, stays so)."""
    global _next
    for _ in range(_SPAN):
        _next = (_next + 1) % _SPAN
        port = _FIRST + _worker * _SPAN + _next
        if _usable(port, hosts):
            return port
    raise RuntimeError("no free port")
