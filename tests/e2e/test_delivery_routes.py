"""Routes: smarthosts, next hops, LMTP over TCP and unix sockets."""
import pytest

from harness.smtp import mail
from harness.wait import wait_until

QUEUE = {"retry": ["1s", "1s"], "retry_jitter": "0%", "delay_warning": "0s"}


@pytest.fixture
def routed(box, mx):
    """One box with every kind of route, each to a sink of its own."""
    box.lmtp_path = f"{box.dir}/lmtp"
    port = box.smtp_port
    box.hop = mx(box, "127.0.0.3")
    box.other = mx(box, "127.0.0.4")
    box.lmtp_tcp = mx(box, "127.0.0.5", lmtp=True)
    box.lmtp_unix = box.new_sink(path=box.lmtp_path, lmtp=True)
    box.dns.mx("hub.example", (10, "m.hub.example", "127.0.0.4"))
    box.start(config={"queue": QUEUE, "routes": [
        {"domain": "host.example", "via": f"[127.0.0.3]:{port}"},
        {"domain": "viamx.example", "via": f"hub.example:{port}"},
        {"domain": "tcp.example", "via": f"lmtp:[127.0.0.5]:{port}"},
        {"domain": "ours.example", "via": f"lmtp:unix:{box.lmtp_path}"},
        {"domain": ".sub.example", "via": f"[127.0.0.4]:{port}"},
        {"domain": "dest.example", "via": "mx"},
        {"domain": "src.example", "via": "mx"},
        {"domain": "*", "via": f"[127.0.0.3]:{port}"},
    ]})
    return box


def test_every_route(routed):
    b = routed
    for rcpt, sink in (("u@host.example", b.hop), ("u@viamx.example", b.other), ("u@tcp.example", b.lmtp_tcp),
                       ("u@ours.example", b.lmtp_unix), ("u@x.sub.example", b.other), ("u@a.b.sub.example", b.other),
                       ("u@sub.example", b.hop), ("u@dest.example", b.sink), ("u@anything.else.example", b.hop),
                       ("u@[192.0.2.1]", b.hop)):
        b.submit(rcpt)
        t = sink.one(rcpt)
        assert t.session.protocol == ("lhlo" if sink.lmtp else "ehlo")
    # Next hops by address ask nothing of DNS.
    assert not b.dns.asked("host.example") and not b.dns.asked("anything.else.example")


def test_lmtp_answers_for_each_recipient(routed):
    b = routed

    def rule(session, rcpt):
        return {"full@ours.example": "552 5.2.2 mailbox full", "busy@ours.example": "451 4.2.0 locked"}.get(rcpt)

    b.lmtp_unix.rules["eod"] = rule
    back = "lmtp-back@src.example"
    b.submit(["ok@ours.example", "full@ours.example", "busy@ours.example"], sender=back)
    assert b.lmtp_unix.wait("ok@ours.example")[0].rcpts == ["ok@ours.example"]
    dsn = b.sink.one(back).content
    assert b"full@ours.example" in dsn and b"5.2.2" in dsn and b"ok@ours.example" not in dsn.split(b"message/rfc822")[0].split(b"\r\n\r\n", 1)[1]
    del b.lmtp_unix.rules["eod"]
    assert b.lmtp_unix.one("busy@ours.example").rcpts == ["busy@ours.example"]
    assert len(b.lmtp_unix.all("ok@ours.example")) == 1


def test_lmtp_many_messages_over_one_connection(routed):
    b = routed
    for i in range(10):
        b.submit([f"a{i}@ours.example", f"b{i}@ours.example"], content=mail(body=".\r\n"))
    wait_until(lambda: len(b.lmtp_unix.all()) == 10, 30, "ten messages")
    assert sum(len(t.rcpts) for t in b.lmtp_unix.all()) == 20


def test_lmtp_socket_is_missing_then_comes(routed):
    b = routed
    b.lmtp_unix.down()
    id_ = b.submit("late@ours.example", sender="late-back@src.example")
    wait_until(lambda: b.api.get(f"/api/v1/messages/{id_}")["attempts"] >= 1, 30, "deferred")
    b.lmtp_unix.up()
    b.lmtp_unix.one("late@ours.example")
    assert not b.sink.all("late-back@src.example")
