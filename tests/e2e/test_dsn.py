"""Delivery status notifications (RFC 3461-3464), parsed by Python's email package."""
import email
import email.policy
from email.utils import parsedate_to_datetime

import pytest

from harness.smtp import mail
from harness.wait import stays, wait_until

CONFIG = {"queue": {"retry": ["1s", "1s"], "retry_jitter": "0%", "delay_warning": "3s", "lifetime": "8s", "bounce_lifetime": "8s"}}


class Report:
    def __init__(self, transaction):
        assert transaction.sender == "" and len(transaction.rcpts) == 1
        self.raw = transaction.content
        # Our own Received is not on mail we make; parse what the recipient would.
        m = self.message = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert not m.defects, m.defects
        assert m.get_content_type() == "multipart/report" and m.get_param("report-type") == "delivery-status"
        assert m["Auto-Submitted"] == "auto-replied" and m["From"] and m["Message-ID"] and m["Subject"]
        assert parsedate_to_datetime(m["Date"]).tzinfo is not None
        assert transaction.rcpts[0] in m["To"]
        parts = m.get_payload()
        assert 2 <= len(parts) <= 3 and not any(p.defects for p in m.walk())
        assert parts[0].get_content_type() == "text/plain"
        assert parts[1].get_content_type() in ("message/delivery-status", "message/global-delivery-status")
        self.text = parts[0].get_content()
        blocks = parts[1].get_payload()
        self.fields, self.rcpts = blocks[0], blocks[1:]
        assert self.fields["Reporting-MTA"] == "dns; mx.test.example"
        assert parsedate_to_datetime(self.fields["Arrival-Date"])
        self.returned = parts[2] if len(parts) == 3 else None

    def rcpt(self, address):
        found = [r for r in self.rcpts if r["Final-Recipient"].split(";")[1].strip() == address]
        assert len(found) == 1, [r["Final-Recipient"] for r in self.rcpts]
        return found[0]


@pytest.fixture
def dead(shared, mx, domain):
    """dead(rules) is a domain whose server follows the rules; with .back for the sender."""
    def make(**rules):
        s = mx(shared, rules=rules)
        shared.dns.mx(domain, (10, f"m.{domain}", s.host))
        s.domain, s.rcpt, s.back = domain, f"user@{domain}", f"back.{domain}@src.example"
        return s

    return make


def report(shared, s, timeout=30):
    return Report(shared.sink.one(s.back, timeout))


def test_failure(shared, dead):
    s = dead(rcpt="550 5.1.1 <user> unknown here")
    with shared.smtp() as c:
        c.expect(f"MAIL FROM:<{s.back}> RET=FULL ENVID=QQ+2B1", 250)
        c.expect(f"RCPT TO:<{s.rcpt}> ORCPT=rfc822;first+2Blast@orig.example", 250)
        assert c.data(mail("lost", body="the text\r\n")) == 250
    r = report(shared, s)
    assert r.fields["Original-Envelope-Id"] == "QQ+1"
    f = r.rcpt(s.rcpt)
    assert f["Action"] == "failed" and f["Status"] == "5.1.1"
    assert f["Original-Recipient"] == "rfc822;first+last@orig.example" or f["Original-Recipient"] == "rfc822; first+last@orig.example"
    assert f["Diagnostic-Code"].startswith("smtp; 550 5.1.1 <user> unknown here")
    assert f["Remote-MTA"].startswith("dns; ") and parsedate_to_datetime(f["Last-Attempt-Date"])
    assert s.rcpt in r.text and "unknown here" in r.text
    assert r.returned.get_content_type() == "message/rfc822"
    original = r.returned.get_payload()[0]
    assert original["Subject"] == "lost" and "the text" in original.get_payload()
    wait_until(lambda: not [m for m in shared.messages() if m["sender"] == s.back], 20, "the original is gone")


@pytest.mark.parametrize("ret,kind", [("HDRS", "text/rfc822-headers"), ("FULL", "message/rfc822")])
def test_ret(shared, dead, ret, kind):
    s = dead(rcpt="550 5.1.1 no")
    shared.submit(s.rcpt, mail("ret", body="secret words\r\n"), s.back, f" RET={ret}")
    r = report(shared, s)
    assert r.returned.get_content_type() == kind
    assert (b"secret words" in r.raw) == (ret == "FULL")
    assert b"Subject: ret" in r.raw


def test_large_content_is_cut(shared, dead):
    s = dead(rcpt="550 5.1.1 no")
    body = "".join(f"line {i:060d}\r\n" for i in range(20000))
    shared.submit(s.rcpt, mail("large", body=body), s.back)
    r = report(shared, s)
    assert len(r.raw) < 70000
    assert b"Subject: large" in r.raw


def test_one_report_for_all_recipients(shared, dead):
    s = dead(rcpt="550 5.1.1 nobody")
    rcpts = [f"u{i}@{s.domain}" for i in range(25)]
    shared.submit(rcpts, sender=s.back)
    r = report(shared, s)
    assert len(r.rcpts) == 25
    for x in rcpts:
        assert r.rcpt(x)["Status"] == "5.1.1"
    stays(lambda: len(shared.sink.all(s.back)) == 1, 1.0, "one report")


def test_only_the_failed_are_reported(shared, dead):
    s = dead(rcpt=lambda session, rcpt: "550 5.1.1 no" if rcpt.startswith("bad") else None)
    shared.submit([f"good@{s.domain}", f"bad@{s.domain}"], sender=s.back)
    r = report(shared, s)
    assert len(r.rcpts) == 1 and r.rcpt(f"bad@{s.domain}")
    s.one(f"good@{s.domain}")


@pytest.mark.parametrize("notify", ["NEVER", "SUCCESS", "DELAY", "SUCCESS,DELAY"])
def test_no_failure_report_when_not_wanted(shared, dead, notify):
    s = dead(rcpt="550 5.1.1 no")
    with shared.smtp() as c:
        c.expect(f"MAIL FROM:<{s.back}>", 250)
        c.expect(f"RCPT TO:<{s.rcpt}> NOTIFY={notify}", 250)
        assert c.data(mail()) == 250
    wait_until(lambda: s.sessions and not [m for m in shared.messages() if m["sender"] == s.back], 30, "it ended")
    stays(lambda: not shared.sink.all(s.back), 0.7, "no report")


def test_notify_is_per_recipient(shared, dead):
    s = dead(rcpt="550 5.1.1 no")
    with shared.smtp() as c:
        c.expect(f"MAIL FROM:<{s.back}>", 250)
        c.expect(f"RCPT TO:<quiet@{s.domain}> NOTIFY=NEVER", 250)
        c.expect(f"RCPT TO:<loud@{s.domain}> NOTIFY=FAILURE", 250)
        assert c.data(mail()) == 250
    r = report(shared, s)
    assert len(r.rcpts) == 1 and r.rcpt(f"loud@{s.domain}")


def test_no_bounce_of_a_bounce(shared, dead):
    """A message from <> that fails ends there."""
    s = dead(rcpt="550 5.1.1 no")
    before = len(shared.sink.all(accepted=False))
    id_ = shared.submit(s.rcpt, sender="")
    wait_until(lambda: s.sessions and id_ not in [m["id"] for m in shared.messages()], 30, "it ended")
    stays(lambda: len(shared.sink.all(accepted=False)) == before, 0.7, "nothing came back")


def test_report_that_cannot_be_delivered_is_dropped(shared, dead):
    s = dead(rcpt="550 5.1.1 no")
    shared.submit(s.rcpt, sender=f"nobody@{s.domain}")
    wait_until(lambda: len([x for x in s.sessions if "MAIL FROM:<>" in " ".join(x.commands)]) >= 1, 30, "the report was tried")
    wait_until(lambda: not [m for m in shared.messages() if m["sender"] in ("", f"nobody@{s.domain}")], 30, "all ended")


def test_delay_once_then_failure(shared, domain):
    """Nobody listens: a warning when it is due, and the end when the lifetime is over."""
    shared.dns.mx(domain, (10, f"m.{domain}", shared.host()))
    back = f"back.{domain}@src.example"
    shared.submit(f"user@{domain}", mail("slow"), back)
    first = Report(shared.sink.wait(back, 1, 40)[0])
    f = first.rcpt(f"user@{domain}")
    assert f["Action"] == "delayed" and f["Status"].startswith("4.")
    assert parsedate_to_datetime(f["Will-Retry-Until"])
    got = shared.sink.wait(back, 2, 40)
    second = Report(sorted(got, key=lambda t: t.dot)[1])
    f = second.rcpt(f"user@{domain}")
    assert f["Action"] == "failed" and f["Status"][0] in "45", f["Status"]
    assert "Will-Retry-Until" not in f
    stays(lambda: len(shared.sink.all(back)) == 2, 1.0, "one warning, one failure")


@pytest.mark.parametrize("notify", ["FAILURE", "NEVER"])
def test_no_delay_report_when_not_wanted(shared, domain, notify):
    shared.dns.mx(domain, (10, f"m.{domain}", shared.host()))
    back = f"back.{domain}@src.example"
    with shared.smtp() as c:
        c.expect(f"MAIL FROM:<{back}>", 250)
        c.expect(f"RCPT TO:<user@{domain}> NOTIFY={notify}", 250)
        assert c.data(mail()) == 250
    wait_until(lambda: not [m for m in shared.messages() if m["sender"] == back], 40, "expired")
    if notify == "FAILURE":
        r = Report(shared.sink.one(back))
        assert r.rcpt(f"user@{domain}")["Action"] == "failed"
    else:
        stays(lambda: not shared.sink.all(back), 0.7, "no report")


@pytest.mark.parametrize("text", ["550 5.7.1 " + "long " * 90, "550-5.7.1 first line\r\n550-5.7.1 Subject: forged\r\n550 5.7.1 last",
                                  "550 5.7.1 tab\there", "550 no enhanced code", "550 5.7.1", "550 4.7.1 class does not agree"],
                         ids=["long", "lines", "tab", "plain", "bare", "class"])
def test_remote_text_is_made_safe(shared, dead, text):
    s = dead(rcpt=text)
    shared.submit(s.rcpt, sender=s.back)
    r = report(shared, s)
    f = r.rcpt(s.rcpt)
    assert f["Status"].startswith("5.") and r.message["Subject"].count("forged") == 0
    assert all(len(line) <= 998 for line in r.raw.split(b"\r\n"))


def test_remote_text_in_eight_bits(shared, dead):
    from harness.sink import Raw
    s = dead(rcpt=Raw("550 5.7.1 größe \x1b[31m\r\n".encode()))
    shared.submit(s.rcpt, sender=s.back)
    got = wait_until(lambda: shared.sink.all(s.back), 30, "a report")
    r = Report(got[0])
    assert b"\x1b" not in r.raw
    assert not any(c >= 0x80 for c in r.raw) or r.message["Content-Transfer-Encoding"] == "8bit"


def test_utf8_recipient(shared, dead):
    s = dead(rcpt="550 5.1.1 no")
    with shared.smtp() as c:
        c.expect(f"MAIL FROM:<{s.back}> SMTPUTF8", 250)
        c.expect(f"RCPT TO:<jörg@{s.domain}>".encode(), 250)
        assert c.data(mail()) == 250
    t = shared.sink.one(s.back)
    assert "jörg".encode() in t.content or b"j\\x{F6}rg" in t.content


def test_reports_survive_a_restart(box):
    """Bounce and DSN are one entry: killed in between, the report still comes, once."""
    box.start(config={"queue": {"retry": ["1s"], "hold_time": "5s"}})
    box.dns.zone("null.example MX 0 .")
    box.sink.down()
    ids = [box.submit(f"u{i}@null.example", sender=f"b{i}@src.example") for i in range(20)]
    wait_until(lambda: not {m["id"] for m in box.messages()} & set(ids), 40, "all bounced")
    box.restart("scheduler", kill=True)
    box.sink.up()
    box.api.post("/api/v1/actions", {"action": "retry", "all": True})
    for i in range(20):
        assert Report(box.sink.one(f"b{i}@src.example", timeout=60)).rcpt(f"u{i}@null.example")["Action"] == "failed"
