"""Tools of others: swaks, Postfix's smtp-source and smtp-sink."""
import os
import re
import subprocess

import pytest

from harness.ports import free_port
from harness.wait import wait_until

CONFIG = {"log": {"level": "info"}}


def run(*argv, **kw):
    r = subprocess.run(argv, capture_output=True, text=True, timeout=100, **kw)
    assert r.returncode == 0, f"{argv}: {r.returncode}\n{r.stdout[-2000:]}\n{r.stderr[-2000:]}"
    return r


def test_swaks(shared):
    r = run("swaks", "--server", f"127.0.0.1:{shared.listen_port}", "--from", "swaks@src.example", "--to", "swaks@dest.example",
            "--header", "Subject: by swaks", "--body", "a line\n.\nanother\n")
    assert re.search(r"<-  250 2\.0\.0 .*queued as \S+", r.stdout), r.stdout
    t = shared.sink.one("swaks@dest.example")
    assert b"Subject: by swaks\r\n" in t.content and b"\r\na line\r\n.\r\nanother\r\n" in t.content


def test_swaks_pipelined(shared):
    run("swaks", "--server", f"127.0.0.1:{shared.listen_port}", "--from", "p@src.example", "--to", "p1@dest.example,p2@dest.example",
        "--pipeline")
    assert sorted(shared.sink.one("p1@dest.example").rcpts) == ["p1@dest.example", "p2@dest.example"]


@pytest.mark.parametrize("options", [["-s", "10", "-m", "300"], ["-s", "5", "-m", "50", "-l", "200000"], ["-s", "3", "-m", "60", "-r", "5"],
                                     ["-s", "4", "-m", "100", "-d"], ["-s", "2", "-m", "40", "-N"]],
                         ids=["many", "large", "recipients", "keep", "numbered"])
def test_smtp_source(shared, options):
    count = int(options[options.index("-m") + 1])
    each = int(options[options.index("-r") + 1]) if "-r" in options else 1
    before = sum(len(t.rcpts) for t in shared.sink.all())
    run("smtp-source", *options, "-f", "source@src.example", "-t", "many@dest.example", f"127.0.0.1:{shared.listen_port}")
    wait_until(lambda: sum(len(t.rcpts) for t in shared.sink.all()) - before >= count * each, 90,
               lambda: f"{sum(len(t.rcpts) for t in shared.sink.all()) - before} of {count * each}")
    shared.queue_empty()
    assert sum(len(t.rcpts) for t in shared.sink.all()) - before == count * each


@pytest.mark.parametrize("options", [[], ["-e"], ["-E"], ["-p"], ["-8"], ["-T", "600"]],
                         ids=["plain", "no-esmtp", "no-enhanced", "no-pipelining", "no-8bitmime", "small-window"])
def test_smtp_sink(box, options):
    port = free_port(("127.0.0.3",))
    # As root it wants to become somebody else.
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    argv = ["smtp-sink", "-c", *user, *options, f"127.0.0.3:{port}", "50"]
    box.start(config={"routes": [{"domain": "postfix.example", "via": f"[127.0.0.3]:{port}"}], "queue": {"retry": ["1s"]}})
    with open(f"{box.dir}/smtp-sink.out", "wb") as out:
        p = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        with box.smtp() as c:
            for i in range(40):
                c.message("s@src.example", [f"a{i}@postfix.example", f"b{i}@postfix.example"], b"Subject: x\r\n\r\n.dot\r\nx\r\n")
        box.queue_empty(60)
        assert p.poll() is None, open(f"{box.dir}/smtp-sink.out").read()
        assert not box.sink.all()
    finally:
        p.kill()
        p.wait()
