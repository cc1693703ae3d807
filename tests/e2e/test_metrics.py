"""Metrics of the three roles: clean text, right figures, scraped by a real Prometheus."""
import json
import subprocess
import urllib.request

import pytest
import yaml

from harness.box import ROLES
from harness.ports import free_port
from harness.smtp import mail
from harness.wait import wait_until

CONFIG = {"queue": {"retry": ["1s"], "retry_jitter": "0%"}}


@pytest.fixture(scope="module")
def used(shared):
    """After some traffic: 12 delivered, 3 bounced, 2 refused at RCPT, 1 deferred."""
    shared.dns.zone("null.example MX 0 .")
    shared.dns.mx("down.example", (10, "m.down.example", "127.0.0.3"))
    with shared.smtp() as c:
        for i in range(12):
            c.message("s@src.example", f"m{i}@dest.example", mail())
        for i in range(3):
            c.message("b@src.example", f"m{i}@null.example", mail())
        c.message("s@src.example", "m@down.example", mail())
    with shared.smtp(source="127.0.0.9") as c:
        c.expect("MAIL FROM:<s@far.example>", 250)
        for _ in range(2):
            assert c.cmd("RCPT TO:<x@victim.example>") == 550
    shared.sink.wait("b@src.example", 3)
    wait_until(lambda: len(shared.messages()) == 1, 30, "one left")
    return shared


@pytest.mark.parametrize("role", ROLES)
def test_promtool_has_nothing_to_say(used, role):
    text = used.admin(role).metrics().text
    r = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert r.returncode == 0 and not r.stderr.strip() and not r.stdout.strip(), r.stdout + r.stderr


@pytest.mark.parametrize("role", ROLES)
def test_names_and_cardinality(used, role):
    m = used.admin(role).metrics()
    ours = {n for n in m.names() if not n.startswith("process_")}
    assert ours and all(n.startswith("postrider_") for n in ours)
    assert len(m.samples) <= 1500
    assert m.sum("postrider_build_info", role=role) == 1
    # Nothing that a peer chose.
    assert "dest.example" not in m.text and "127.0.0" not in m.text


def test_ingress_figures(used):
    m = used.admin("ingress").metrics()
    assert m.sum("postrider_smtp_messages_accepted_total") == 16
    assert m.sum("postrider_smtp_rejections_total", stage="rcpt") == 2
    assert m.sum("postrider_smtp_connections_total", result="accepted") >= 2
    assert m.sum("postrider_ingress_commit_duration_seconds_count") == 16
    assert m.sum("postrider_smtp_commands_total", command="rcpt", code_class="5") == 2


def test_queue_figures(used):
    m = used.admin("scheduler").metrics()
    assert m.sum("postrider_queue_enqueued_total", origin="smtp") == 16
    assert m.sum("postrider_queue_enqueued_total", origin="dsn") == 3
    wait_until(lambda: used.admin("scheduler").metrics().sum("postrider_queue_dequeued_total", reason="delivered") == 15, 10)
    m = used.admin("scheduler").metrics()
    assert m.sum("postrider_queue_dequeued_total", reason="bounced") == 3
    assert m.sum("postrider_queue_messages") == 1
    assert m.sum("postrider_dsn_generated_total", kind="failure") == 3
    assert m.sum("postrider_raft_has_leader") == 2


def test_delivery_figures(used):
    m = used.admin("deliverer").metrics()
    assert m.sum("postrider_deliveries_total", result="delivered") == 15
    assert m.sum("postrider_deliveries_total", result="bounced") == 3
    assert m.sum("postrider_deliveries_total", result="deferred") >= 1


def test_accounting(used):
    """accepted = delivered + bounced + expired + deleted + queued."""
    m = used.admin("scheduler").metrics()
    assert m.sum("postrider_queue_enqueued_total") == m.sum("postrider_queue_dequeued_total") + m.sum("postrider_queue_messages")


@pytest.mark.parametrize("role", ROLES)
def test_probes(used, role):
    a = used.admin(role)
    assert a.status_of("/livez") == 200 and a.status_of("/readyz") == 200
    assert a.status_of("/no-such-thing") == 404


def test_real_prometheus(box):
    """Three targets are up, and a counter has the value it must have."""
    ports = {role: free_port() for role in ROLES}
    box.start(config={"admin": {role: f"127.0.0.1:{p}" for role, p in ports.items()}})
    for i in range(7):
        box.submit(f"p{i}@dest.example")
    box.sink.wait(n=7)
    web = free_port()
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
        {"job_name": role, "static_configs": [{"targets": [f"127.0.0.1:{p}"]}]} for role, p in ports.items()]}
    path = f"{box.dir}/prometheus.yml"
    with open(path, "w", encoding="utf-8") as f:
        yaml.safe_dump(config, f)
    with open(f"{box.dir}/prometheus.out", "wb") as out:
        p = subprocess.Popen(["prometheus", f"--config.file={path}", f"--storage.tsdb.path={box.dir}/tsdb",
                              f"--web.listen-address=127.0.0.1:{web}"], stdout=out, stderr=out)
    try:
        def query(q):
            with urllib.request.urlopen(f"http://127.0.0.1:{web}/api/v1/query?query={q}", timeout=5) as r:
                return {tuple(sorted(x["metric"].items())): float(x["value"][1]) for x in json.load(r)["data"]["result"]}

        wait_until(lambda: list(query("up").values()) == [1.0] * 3, 40, "three targets up")
        wait_until(lambda: sum(query("postrider_smtp_messages_accepted_total").values()) == 7, 20, "7 accepted")
        wait_until(lambda: sum(query("sum(postrider_queue_dequeued_total)").values()) == 7, 20, "7 dequeued")
    finally:
        p.terminate()
        p.wait(20)
