"""SIGHUP: a new configuration takes effect without dropping a connection; a bad one changes nothing."""
from harness.box import ROLES, SIGHUP
from harness.smtp import mail
from harness.wait import wait_until


def hup(box, roles=ROLES):
    for r in roles:
        box.processes[r].signal(SIGHUP)


def reloads(box, role, result):
    return box.admin(role).metrics().sum("postrider_config_reloads_total", result=result)


def reload(box, extra):
    """Writes a configuration and waits until each role has taken it."""
    before = {r: reloads(box, r, "ok") for r in ROLES}
    box.write_config(extra)
    hup(box)
    for r in ROLES:
        wait_until(lambda: reloads(box, r, "ok") == before[r] + 1, 20, f"{r} reloaded:\n{box.log(r).tail(10)}")


def test_open_sessions_live_on(box):
    box.start()
    idle, busy = box.smtp(), box.smtp()
    busy.envelope("s@src.example", "mid@dest.example")
    busy.expect("DATA", 354)
    busy.send(b"Subject: mid\r\n\r\nbefore\r\n")
    reload(box, {"ingress": {"limits": {"message_size": "1MiB"}}})
    assert idle.alive()
    busy.send(b"after\r\n.\r\n")
    assert busy.reply() == 250
    box.sink.one("mid@dest.example")
    with box.smtp() as c:
        assert c.extensions["SIZE"] == [str(1 << 20)]
    pids = {r: p.pid for r, p in box.processes.items()}
    assert all(p.running() and p.pid == pids[r] for r, p in box.processes.items())


def test_policy_and_routes_change(box, mx):
    other = mx(box, "127.0.0.4")
    box.start(config={"queue": {"retry": ["1s"]}})
    with box.smtp(source="127.0.0.9") as c:
        c.expect("MAIL FROM:<s@far.example>", 250)
        assert c.cmd("RCPT TO:<u@moved.example>") == 550
    reload(box, {"ingress": {"relay_domains": ["moved.example"]},
                 "routes": [{"domain": "moved.example", "via": f"[127.0.0.4]:{box.smtp_port}"}]})
    with box.smtp(source="127.0.0.9") as c:
        c.message("s@far.example", "u@moved.example", mail())
    other.one("u@moved.example")


def test_limits_change_for_mail_in_the_queue(box, mx):
    from harness.sink import Slow
    box.start(config={"limits": [{"destination": "l.example", "connections": 1}], "queue": {"retry": ["1s"]}})
    s = mx(box, "127.0.0.3", rules={"eod": Slow(0.25)})
    box.dns.mx("l.example", (10, "m.l.example", "127.0.0.3"))
    with box.smtp() as c:
        for i in range(60):
            c.message("s@src.example", f"u{i}@l.example", mail())
    s.wait(n=3)
    assert s.max_open == 1
    reload(box, {"limits": [{"destination": "l.example", "connections": 5}]})
    s.wait(n=60, timeout=60)
    assert 2 <= s.max_open <= 5


def test_log_level_changes(box):
    box.start(config={"log": {"level": "info"}})
    assert not [r for r in box.log("ingress").records() if r["level"] == "debug"]
    reload(box, {"log": {"level": "debug"}})
    box.submit("debug@dest.example")
    wait_until(lambda: [r for r in box.log("ingress").records() if r["level"] == "debug"], 10, "debug lines")


def test_bad_configuration_changes_nothing(box):
    box.start()
    good = open(box.config_path, encoding="utf-8").read()
    for bad in ("ingress: {limits: {message_size: lots}}\n", "no_such_key: 1\n", "a: [\n", "hostname: \x01\n"):
        failed = {r: reloads(box, r, "failed") for r in ROLES}
        with open(box.config_path, "w", encoding="utf-8") as f:
            f.write(bad)
        hup(box)
        for r in ROLES:
            wait_until(lambda: reloads(box, r, "failed") == failed[r] + 1, 20, f"{r} refused {bad!r}")
    with open(box.config_path, "w", encoding="utf-8") as f:
        f.write(good)
    hup(box)
    box.submit("still@dest.example")
    box.sink.one("still@dest.example")


def test_reload_under_load(box):
    """Twenty reloads while mail flows: nothing lost, nothing twice."""
    from harness.load import ACCEPTED, Load
    from harness.oracle import Oracle
    box.start(config={"log": {"level": "info"}})
    load = Load(box.address, sessions=4, pause=0.01).start()
    for i in range(20):
        done = load.books.count(ACCEPTED)
        wait_until(lambda: load.books.count(ACCEPTED) >= done + 5, 30, "mail flows")
        box.write_config({"ingress": {"limits": {"hops": 50 + i}}, "limits": [{"destination": "*", "connections": 5 + i}]})
        hup(box)
    books = load.stop()
    box.queue_empty(60)
    wrong = Oracle(books, box.sink.all()).check()
    assert not wrong, wrong[:10]
    assert books.count(ACCEPTED) == len(books.records)
