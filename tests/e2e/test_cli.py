"""The postrider command: every act on the queue, in table and JSON, with its exit codes."""
import json
import os
import signal
import subprocess

import jsonschema
import pytest
import yaml

from harness.box import ROOT, program, sanitizer_env
from harness.cli import Cli, supervised
from harness.smtp import mail
from harness.wait import stays, wait_until

CONFIG = {"queue": {"retry": ["1h"], "delay_warning": "0s"}}


@pytest.fixture(scope="module")
def cli(shared):
    return Cli(shared)


@pytest.fixture(scope="module")
def busy(shared):
    """A server of held.example and other.example that puts every recipient off; its site stays in good standing."""
    sink = shared.new_sink(host=shared.host(), rules={"rcpt": "450 4.2.1 mailbox busy"})
    for domain in ("held.example", "other.example"):
        shared.dns.mx(domain, (10, f"mx.{domain}", sink.host))
    yield sink
    sink.close()


@pytest.fixture
def queue(shared, cli, busy):
    """An empty queue, then six deferred messages; returns their ids."""
    if cli.run("msg", "delete", "--all", "--yes").returncode == 0:
        shared.queue_empty()
    ids = [shared.submit(f"u{i}@{'held' if i < 4 else 'other'}.example", mail(f"cli {i}"), f"s{i}@src.example") for i in range(6)]
    wait_until(lambda: all(m["attempts"] >= 1 and m["state"] == "scheduled" for m in shared.messages()), 30, "all deferred")
    return ids


def names(cli, *words):
    return set(cli.ok(*words, "-o", "name").split())


# ---- looking


def test_status(shared, cli):
    out = cli.ok("status")
    for role in ("scheduler", "ingress", "deliverer"):
        assert role in out
    assert cli.json("status")


def test_list(cli, queue):
    table = cli.ok("queue", "list")
    for i, id_ in enumerate(queue):
        assert id_ in table and f"s{i}@src.example" in table
    assert names(cli, "queue", "list") == set(queue)
    rows = cli.lines("queue", "list")
    assert {r["id"] for r in rows} == set(queue)
    assert {r["sender"] for r in rows} == {f"s{i}@src.example" for i in range(6)}
    assert all(r["recipients"][0]["diagnostic"] for r in rows)
    assert len(cli.ok("queue", "list", "--no-headers").splitlines()) == len(table.splitlines()) - 1
    assert cli.json("queue", "list")


def test_list_filters(cli, queue):
    assert names(cli, "queue", "list", "--domain", "held.example") == set(queue[:4])
    assert names(cli, "queue", "list", "--sender", "s2@src.example") == {queue[2]}
    assert names(cli, "queue", "list", "--recipient", "u5@other.example") == {queue[5]}
    assert names(cli, "queue", "list", "--state", "scheduled") == set(queue)
    r = cli.run("queue", "list", "--state", "held", "-o", "name")
    assert r.stdout == "" and r.returncode in (0, 3)
    r = cli.run("queue", "list", "--state", "nonsense")
    assert r.returncode == 2


def test_limit_counts_the_rest(cli, queue):
    r = cli.run("queue", "list", "--limit", "2", "-o", "name")
    assert r.returncode == 0 and len(r.stdout.split()) == 2 and "4" in r.stderr


def test_pages(shared, cli, queue):
    """A cursor goes through everything once, across shards."""
    seen, cursor = [], None
    for _ in range(10):
        page = shared.api.get("/api/v1/messages", limit=2, cursor=cursor)
        seen += [m["id"] for m in page["messages"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(queue) and cursor is None


def test_shape(cli, queue):
    out = cli.ok("queue", "shape")
    assert "held.example" in out and "other.example" in out and "TOTAL" in out
    shape = cli.json("queue", "shape")
    assert {d["destination"]: d["total"] for d in shape["destinations"]} == {"held.example": 4, "other.example": 2}


def test_destinations(cli, queue):
    out = cli.ok("dest", "list")
    assert "127.0.0.3" in out or "held.example" in out


def test_get_and_cat(cli, queue):
    out = cli.ok("msg", "get", queue[0])
    assert "s0@src.example" in out and "u0@held.example" in out
    m = cli.json("msg", "get", queue[0])
    assert m["id"] == queue[0] and m["attempts"] >= 1 and m["recipients"][0]["address"] == "u0@held.example"
    content = cli.ok("msg", "cat", queue[0])
    assert content.startswith("Received: ") and "Subject: cli 0" in content and content.rstrip().endswith("hello")


@pytest.mark.parametrize("id_", ["nonsense", "0", "x" * 500, "../../etc/passwd", "%00"])
def test_ids_that_are_none(cli, queue, id_):
    for verb in ("get", "cat", "retry"):
        r = cli.run("msg", verb, "--", id_)
        assert r.returncode in (1, 2, 3, 4) and r.stderr, (verb, r)


def test_unknown_id(cli, queue):
    gone = queue[0]
    cli.ok("msg", "delete", gone)
    assert cli.run("msg", "get", gone).returncode == 3
    assert cli.run("msg", "cat", gone).returncode == 3
    assert cli.run("msg", "retry", gone).returncode == 3


# ---- acting


def test_hold_and_release(shared, cli, queue):
    cli.ok("msg", "hold", queue[0], queue[1])
    assert names(cli, "queue", "list", "--state", "held") == set(queue[:2])
    assert shared.api.metrics().sum("postrider_queue_messages", state="held") == 2
    # A retry does not move what is held, and says so.
    assert cli.run("msg", "retry", queue[0], queue[2]).returncode == 7
    wait_until(lambda: cli.json("msg", "get", queue[2])["attempts"] >= 2, 20, "the other was tried")
    assert cli.json("msg", "get", queue[0])["attempts"] == 1
    cli.ok("msg", "release", "--state", "held", "--yes")
    assert cli.run("queue", "list", "--state", "held", "-o", "name").stdout == ""
    cli.ok("msg", "retry", queue[0])
    wait_until(lambda: cli.json("msg", "get", queue[0])["attempts"] >= 2, 20, "released and tried")


def test_hold_survives_a_restart(shared, cli, queue):
    cli.ok("msg", "hold", queue[0])
    shared.restart("scheduler", kill=True)
    assert names(cli, "queue", "list", "--state", "held") == {queue[0]}
    cli.ok("msg", "release", queue[0])


def test_retry(shared, cli, queue):
    cli.ok("msg", "retry", queue[3])
    wait_until(lambda: cli.json("msg", "get", queue[3])["attempts"] >= 2, 20, "tried again")
    assert cli.json("msg", "get", queue[0])["attempts"] == 1
    cli.ok("msg", "retry", "--domain", "other.example", "--yes")
    wait_until(lambda: all(cli.json("msg", "get", i)["attempts"] >= 2 for i in queue[4:]), 20, "tried again")
    assert cli.json("msg", "get", queue[0])["attempts"] == 1


def test_delete(shared, cli, queue):
    before = shared.api.metrics().sum("postrider_queue_dequeued_total", reason="deleted")
    cli.ok("msg", "delete", queue[0])
    assert names(cli, "queue", "list") == set(queue[1:])
    cli.ok("msg", "delete", "--sender", "s1@src.example", "--yes")
    assert names(cli, "queue", "list") == set(queue[2:])
    cli.ok("msg", "delete", "--all", "--yes")
    shared.queue_empty()
    assert shared.api.metrics().sum("postrider_queue_dequeued_total", reason="deleted") == before + 6
    stays(lambda: not shared.sink.all("s0@src.example"), 0.5, "no report for what was deleted")


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "delete"])
def test_dry_run_changes_nothing(cli, queue, verb):
    before = cli.lines("queue", "list")
    out = cli.ok("msg", verb, "--all", "--dry-run")
    assert "6" in out and queue[0] in out or any(i in out for i in queue)
    assert cli.lines("queue", "list") == before


def test_bulk_needs_yes_without_a_terminal(cli, queue):
    r = cli.run("msg", "delete", "--all")
    assert r.returncode in (2, 4) and "--yes" in r.stderr
    assert len(names(cli, "queue", "list")) == 6


def test_nothing_matched_is_3(cli, queue):
    assert cli.run("msg", "delete", "--sender", "nobody@x.example", "--yes").returncode == 3
    assert cli.run("msg", "hold").returncode == 2


def test_flush(shared, cli):
    """Deferred mail goes out when its destination is back."""
    cli.run("msg", "delete", "--all", "--yes")
    shared.dns.mx("back.example", (10, "m.back.example", "127.0.0.4"))
    for i in range(3):
        shared.submit(f"u{i}@back.example")
    wait_until(lambda: all(m["attempts"] >= 1 for m in shared.messages(domain="back.example")), 30, "deferred")
    s = shared.new_sink(host="127.0.0.4")
    cli.ok("queue", "flush", "back.example")
    wait_until(lambda: len(s.all()) == 3, 40, "all three")
    s.close()


# ---- without daemons


def test_unavailable_is_5(box):
    box.write_config()
    c = Cli(box)
    for words in (("queue", "list"), ("status",), ("msg", "get", "A"), ("queue", "flush")):
        r = c.run(*words)
        assert r.returncode == 5 and r.stderr, (words, r)


@pytest.mark.parametrize("words", [[], ["nonsense"], ["queue"], ["queue", "lits"], ["msg", "get"], ["queue", "list", "--bogus"],
                                   ["queue", "list", "--limit", "x"], ["queue", "list", "extra"], ["queue", "list", "-o", "pdf"]])
def test_usage_is_2(box, words):
    box.write_config()
    r = Cli(box).run(*words)
    assert r.returncode == 2 and r.stderr and not r.stdout


def test_help_and_version(box):
    c = Cli(box)
    for words in (["help"], ["--help"], ["queue", "--help"], ["queue", "list", "--help"], ["help", "msg", "delete"]):
        assert "usage:" in c.ok(*words, config=False)
    assert c.ok("version", config=False).startswith("postrider ")
    assert c.ok("--version", config=False) == c.ok("version", config=False)
    for role in ("ingress", "scheduler", "deliverer"):
        r = subprocess.run([program("postrider-" + role), "--version"], capture_output=True, text=True, timeout=20,
                           env=sanitizer_env(box.dir, role))
        assert r.returncode == 0 and role in r.stdout


# ---- configuration


def test_config_check(box):
    c = Cli(box)
    box.write_config()
    r = c.run("config", "check")
    assert r.returncode == 0, r.stderr
    bad = ("hostnam: x.example\nqueue:\n  retry: [5, 10m]\n  shards: 1000\ningress:\n  limits:\n    message_size: 10 apples\n"
           "  trusted_networks: [10.0.0.0/33]\n")
    path = os.path.join(box.dir, "bad.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(bad)
    r = c.run("config", "check", path, config=False)
    assert r.returncode == 1
    text = r.stdout + r.stderr
    # All at once, each with its place; a hint for the misspelt key.
    for place in (":1:", ":3:", ":4:", ":7:", ":8:"):
        assert f"bad.yaml{place}" in text, text
    assert "hostname" in text
    for role in ("ingress", "scheduler", "deliverer"):
        r = subprocess.run([program("postrider-" + role), "-c", path, "--check"], capture_output=True, text=True, timeout=20,
                           env=sanitizer_env(box.dir, role))
        assert r.returncode != 0 and "bad.yaml:1:" in r.stdout + r.stderr
    assert c.run("config", "check", "/no/such/file", config=False).returncode == 1


def test_config_show_loads_again(box):
    c = Cli(box)
    box.write_config()
    shown = c.ok("config", "show")
    assert yaml.safe_load(shown)["hostname"] == "mx.test.example"
    path = os.path.join(box.dir, "shown.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(shown)
    assert c.ok("config", "show", path, config=False) == shown
    short = yaml.safe_load(c.ok("config", "show", "--non-default"))
    assert "timeouts" not in short.get("ingress", {}) and short["queue"]["shards"] == 2
    assert json.loads(c.ok("config", "show", "-o", "json"))["queue"]["shards"] == 2


def test_config_schema_validates_the_examples(box):
    schema = json.loads(Cli(box).ok("config", "schema", config=False))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    examples = os.path.join(ROOT, "deploy", "examples")
    found = [f for f in os.listdir(examples) if f.endswith(".yaml")]
    assert found
    for f in found:
        with open(os.path.join(examples, f), encoding="utf-8") as text:
            validator.validate(yaml.safe_load(text))
    validator.validate(box.write_config())
    for wrong in ({"hostnam": "x"}, {"queue": {"shards": "many"}}, {"ingress": {"listeners": [{"name": "a"}]}}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(wrong)


def test_examples_pass_the_check(box):
    examples = os.path.join(ROOT, "deploy", "examples")
    for f in sorted(os.listdir(examples)):
        if f.endswith(".yaml"):
            r = Cli(box).run("config", "check", os.path.join(examples, f), config=False)
            assert r.returncode == 0, f"{f}: {r.stdout}{r.stderr}"


# ---- send, run, dev


def test_send_test(shared, cli):
    r = cli.run("send", "test", "--to", "sendtest@dest.example", "--from", "me@src.example", "--subject", "by hand")
    assert r.returncode == 0, r.stderr
    t = shared.sink.one("sendtest@dest.example")
    assert b"Subject: by hand" in t.content
    assert "250" in r.stdout and "delivered" in r.stdout.lower()


def test_send_test_that_fails(shared, cli):
    shared.dns.zone("nullmx.example MX 0 .")
    r = cli.run("send", "test", "--to", "x@nullmx.example")
    assert r.returncode != 0, r.stdout


def test_run_supervises(box):
    """A daemon that dies is started again; SIGTERM ends all in order."""
    p = supervised(box)
    try:
        box.write_config()
        wait_until(lambda: all(box.admin(r).status_of("/readyz") == 200 for r in ("scheduler", "ingress", "deliverer")), 60,
                   lambda: open(os.path.join(box.dir, "postrider-run.log"), errors="replace").read()[-3000:])
        box.submit("one@dest.example")
        box.sink.one("one@dest.example")
        children = [int(x) for x in open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii").read().split()]
        assert len(children) == 3
        victim = next(c for c in children if b"postrider-ingress" in open(f"/proc/{c}/cmdline", "rb").read())
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in [int(x) for x in open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii").read().split()]
                   and box.admin("ingress").status_of("/readyz") == 200, 40, "ingress is back")
        box.submit("two@dest.example")
        box.sink.one("two@dest.example")
        p.terminate()
        assert p.wait(60) == 0
        assert not any(os.path.exists(f"/proc/{c}") for c in children)
    finally:
        if p.poll() is None:
            p.terminate()
            p.wait(60)


@pytest.mark.deadline(180)
def test_dev_once(box):
    """No configuration, no root for the daemons: a message through the whole, shown step by step."""
    r = Cli(box).run("dev", "--once", config=False, timeout=120)
    assert r.returncode == 0, r.stdout[-3000:] + r.stderr[-3000:]
    assert "queued as" in r.stdout and "250" in r.stdout
