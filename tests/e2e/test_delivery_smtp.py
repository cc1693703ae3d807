"""The SMTP client: what it says, what it makes of replies, what it never emits."""
import threading

import pytest

from harness import tls
from harness.sink import DEFAULT_EXTENSIONS, Close, Drop, Hold, Raw
from harness.smtp import mail
from harness.wait import wait_until

CONFIG = {"queue": {"retry": ["1s", "1s", "2s"], "retry_jitter": "0%", "delay_warning": "0s"}}
STAGES = ["connect", "mail", "rcpt", "data", "eod"]
NO_CHUNKING = [e for e in DEFAULT_EXTENSIONS if e != "CHUNKING"]


def extensions(stage):
    """Such that the stage is reached: with CHUNKING there is no DATA."""
    return NO_CHUNKING if stage == "data" else DEFAULT_EXTENSIONS


@pytest.fixture
def site(shared, mx, domain):
    """site(**options of Sink): domain has one MX, which is that sink; the sink gets .domain."""
    def make(**kw):
        s = mx(shared, **kw)
        shared.dns.remove(domain)
        shared.dns.remove(f"m.{domain}")
        shared.dns.mx(domain, (10, f"m.{domain}", s.host))
        s.domain = domain
        s.rcpt = f"user@{domain}"
        s.back = f"back.{domain}@src.example"
        return s

    return make


def send(shared, s, content=None, rcpts=None, params=""):
    return shared.submit(rcpts or s.rcpt, content, sender=s.back, params=params)


def test_full_dialogue(shared, site):
    s = site()
    text = mail(body="..dots\r\n.\r\n")
    send(shared, s, text)
    t = s.one(s.rcpt)
    assert t.session.helo == "mx.test.example" and t.session.protocol == "ehlo"
    assert t.sender == s.back and t.content.endswith(text)
    assert int(t.sender_params["SIZE"]) == len(t.content)
    assert t.chunks, "CHUNKING was offered"
    assert t.session.pipelined > 0, "PIPELINING was offered"
    wait_until(lambda: t.session.closed, 15, "connection closed after idling")
    assert t.session.commands[-1] == "QUIT"


def test_no_extensions_at_all(shared, site):
    s = site(extensions=[])
    text = mail(body=".x\r\n..\r\n")
    send(shared, s, text)
    t = s.one(s.rcpt)
    assert not t.sender_params and not t.chunks and t.raw and t.content.endswith(text)
    assert t.session.pipelined == 0


@pytest.mark.parametrize("reply", ["500 5.5.1 what", "502 5.5.1 no", "501 syntax"])
def test_helo_when_ehlo_is_refused(shared, site, reply):
    s = site(rules={"ehlo": reply})
    send(shared, s)
    assert s.one(s.rcpt).session.protocol == "helo"


def test_each_extension_alone(shared, mx, domain):
    for e in DEFAULT_EXTENSIONS:
        s = mx(shared, extensions=[e])
        name = f"{e.split()[0].lower()}.{domain}"
        shared.dns.mx(name, (10, f"m.{name}", s.host))
        shared.submit(f"u@{name}")
        s.one(f"u@{name}")


@pytest.mark.parametrize("stage", STAGES)
def test_4xx_is_tried_again(shared, site, stage):
    s = site(rules={stage: ["451 4.3.0 try later"]}, extensions=extensions(stage))
    send(shared, s)
    s.one(s.rcpt, timeout=60)
    assert not shared.sink.all(s.back), "a temporary failure bounced"


@pytest.mark.parametrize("stage", STAGES)
def test_5xx_bounces_with_the_reply(shared, site, stage):
    s = site(rules={stage: "550 5.7.9 we do not want <you> here"}, extensions=extensions(stage))
    send(shared, s)
    t = shared.sink.one(s.back, timeout=60)
    assert t.sender == "" and b"550 5.7.9 we do not want <you> here" in t.content.replace(b"\r\n ", b" ")
    assert b"\r\nStatus: 5.7.9\r\n" in t.content and b"\r\nAction: failed\r\n" in t.content
    assert not s.all()


@pytest.mark.parametrize("stage", STAGES + ["ehlo"])
def test_dropped_connection_is_tried_again(shared, site, stage):
    s = site(rules={stage: [Drop()]}, extensions=extensions(stage))
    send(shared, s)
    s.one(s.rcpt, timeout=60)
    assert not shared.sink.all(s.back)


@pytest.mark.parametrize("stage", STAGES + ["ehlo"])
def test_421_closes_and_is_tried_again(shared, site, stage):
    s = site(rules={stage: [Close("421 4.3.2 shutting down")]}, extensions=extensions(stage))
    send(shared, s)
    s.one(s.rcpt, timeout=60)
    assert not shared.sink.all(s.back)


GARBAGE = {"word": b"hello\r\n", "code-out-of-range": b"999 what\r\n", "no-code": b"2x0 ok\r\n", "empty": b"\r\n",
           "bare-lf": b"250 ok\n250 ok\n", "nul": b"250 o\0k\r\n", "long": b"250 " + b"x" * 100000 + b"\r\n",
           "mixed-codes": b"250-a\r\n451 b\r\n", "endless": b"250-more\r\n" * 20000, "binary": bytes(range(256)) * 4,
           "two-digits": b"25 ok\r\n", "negative": b"-250 ok\r\n", "utf8": "250 größe\r\n".encode()}


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "eod"])
def test_garbage_is_survived(shared, site, stage):
    s = site(close_after=1)
    for name, data in GARBAGE.items():
        rcpt = f"g-{name}@{s.domain}"
        # The same garbage once, then as it should be; for the greeting that is a new connection.
        s.rules[stage] = [Raw(data)]
        send(shared, s, rcpts=rcpt)
        wait_until(lambda: not s.rules[stage], 40, f"{name} was served")
        wait_until(lambda: s.all(rcpt) or shared.sink.all(s.back), 60, f"{name} delivered or bounced")
        with s.lock:
            s.rules.pop(stage, None)
    assert shared.processes["deliverer"].running()


def test_replies_in_the_same_segment(shared, site):
    """Early replies of a server that does not wait for commands are not taken for later ones."""
    s = site(rules={"mail": [Raw(b"250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n")]}, extensions=[], strict=False)
    send(shared, s)
    wait_until(lambda: s.all(s.rcpt) or not shared.messages(), 60, "delivered or given up")
    # Nothing counts as delivered that the server never took.
    assert s.all(s.rcpt) or shared.sink.all(s.back)


def test_mixed_recipients(shared, site):
    def rule(session, rcpt):
        return {"bad": "550 5.1.1 no such user", "later": "450 4.2.1 mailbox busy"}.get(rcpt.split("@")[0])

    s = site(rules={"rcpt": rule})
    rcpts = [f"{n}@{s.domain}" for n in ("good1", "bad", "later", "good2")]
    id_ = send(shared, s, rcpts=rcpts)
    t = s.wait(f"good1@{s.domain}")[0]
    assert t.rcpts == [f"good1@{s.domain}", f"good2@{s.domain}"]
    dsn = shared.sink.one(s.back).content
    assert b"bad@" in dsn and b"5.1.1" in dsn and b"good1@" not in dsn and b"later@" not in dsn
    # The one that is left is tried alone.
    left = shared.api.get(f"/api/v1/messages/{id_}")
    assert left
    del s.rules["rcpt"]
    t = s.one(f"later@{s.domain}", timeout=60)
    assert t.rcpts == [f"later@{s.domain}"]
    assert len(s.all(f"good1@{s.domain}")) == 1


def test_all_recipients_refused(shared, site):
    """With PIPELINING the DATA may already be under way: 503, or 354 that is ended at once with no message."""
    s = site(rules={"rcpt": "550 5.1.1 no such user"})
    send(shared, s, rcpts=[f"a@{s.domain}", f"b@{s.domain}"])
    dsn = shared.sink.one(s.back).content
    assert dsn.count(b"Final-Recipient:") == 2
    assert not s.all(accepted=False)


def test_partly_accepted_at_data(shared, site):
    s = site(rules={"data": ["451 4.3.0 not now"]}, extensions=NO_CHUNKING)
    send(shared, s, rcpts=[f"a@{s.domain}", f"b@{s.domain}"])
    t = s.one(f"a@{s.domain}", timeout=60)
    assert len(t.rcpts) == 2


def test_no_reply_after_the_dot_defers(shared, site):
    """Lost between the final dot and the reply: never bounced; the second copy is the price."""
    s = site(rules={"eod": [Drop()]})
    send(shared, s)
    s.wait(s.rcpt, timeout=60)
    assert not shared.sink.all(s.back)


def test_one_message_for_many_at_a_domain(shared, site):
    s = site()
    rcpts = [f"u{i}@{s.domain}" for i in range(30)]
    send(shared, s, rcpts=rcpts)
    assert sorted(s.one(rcpts[0]).rcpts) == sorted(rcpts)


def test_domains_are_sent_apart(shared, site):
    s = site()
    send(shared, s, rcpts=[s.rcpt, f"x-{s.domain}@dest.example"])
    assert s.one(s.rcpt).rcpts == [s.rcpt]
    assert shared.sink.one(f"x-{s.domain}@dest.example").rcpts == [f"x-{s.domain}@dest.example"]


def test_connection_is_used_again(shared, site):
    s = site()
    gate = threading.Event()
    s.rules["connect"] = [Hold(gate)]
    for i in range(40):
        shared.submit(f"u{i}@{s.domain}")
    gate.set()
    s.wait(n=40)
    assert len([x for x in s.sessions if x.transactions]) <= 20, len(s.sessions)
    assert max(x.transactions for x in s.sessions) > 1


def test_server_that_ends_after_each_message(shared, site):
    s = site(close_after=1)
    for i in range(20):
        shared.submit(f"u{i}@{s.domain}")
    s.wait(n=20, timeout=60)
    assert sorted(r for t in s.all() for r in t.rcpts) == sorted(f"u{i}@{s.domain}" for i in range(20))


def test_dsn_parameters_are_relayed(shared, site):
    s = site()
    with shared.smtp() as c:
        c.expect(f"MAIL FROM:<{s.back}> RET=HDRS ENVID=env+2B1", 250)
        c.expect(f"RCPT TO:<{s.rcpt}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;orig+2Bx@y.example", 250)
        assert c.data(mail()) == 250
    t = s.one(s.rcpt)
    assert t.sender_params["RET"].upper() == "HDRS" and t.sender_params["ENVID"] == "env+2B1"
    assert sorted(t.rcpt_params[0]["NOTIFY"].upper().split(",")) == ["FAILURE", "SUCCESS"]
    assert t.rcpt_params[0]["ORCPT"].lower() == "rfc822;orig+2bx@y.example"


def test_size_is_checked_first(shared, site):
    s = site(extensions=["SIZE 1000", "PIPELINING"])
    send(shared, s, mail(body="x" * 70 + "\r\n" + "y" * 900 + "\r\n" + "z" * 900 + "\r\n"))
    dsn = shared.sink.one(s.back).content
    assert b"5.3.4" in dsn
    assert not any(c.startswith("DATA") for x in s.sessions for c in x.commands)


def test_eight_bit_without_8bitmime(shared, site):
    """Encoded or bounced 5.6.3, never sent as it is (the sink would complain)."""
    s = site(extensions=["PIPELINING"])
    send(shared, s, mail(body="größe\r\n"), params=" BODY=8BITMIME")
    wait_until(lambda: s.all(s.rcpt) or shared.sink.all(s.back), 40, "delivered or bounced")
    if shared.sink.all(s.back):
        assert b"5.6.3" in shared.sink.one(s.back).content


def test_eight_bit_with_8bitmime(shared, site):
    s = site()
    send(shared, s, mail(body="größe\r\n"), params=" BODY=8BITMIME")
    t = s.one(s.rcpt)
    assert t.sender_params["BODY"].upper() == "8BITMIME" and "größe\r\n".encode() in t.content


def test_utf8_address_without_smtputf8(shared, site):
    s = site(extensions=["PIPELINING", "8BITMIME"])
    with shared.smtp() as c:
        c.expect(f"MAIL FROM:<{s.back}> SMTPUTF8", 250)
        c.expect(f"RCPT TO:<jörg@{s.domain}>".encode(), 250)
        assert c.data(mail()) == 250
    dsn = shared.sink.one(s.back).content
    assert b"5.6.7" in dsn
    assert not s.all(accepted=False)


def test_binarymime_without_it(shared, site):
    s = site()
    data = mail(body="") + b"a\nb\0c"
    with shared.smtp() as c:
        c.expect(f"MAIL FROM:<{s.back}> BODY=BINARYMIME", 250)
        c.expect(f"RCPT TO:<{s.rcpt}>", 250)
        c.send(b"BDAT %d LAST\r\n" % len(data) + data)
        assert c.reply() == 250
    dsn = shared.sink.one(s.back).content
    assert b"5.6.1" in dsn or b"5.6.3" in dsn
    assert not s.all(accepted=False)


# ---- STARTTLS


@pytest.fixture(scope="module")
def context(shared):
    return tls.server_context(*tls.make(shared.dir, "m.example"))


def test_opportunistic_tls(shared, site, context):
    s = site(tls=context)
    send(shared, s)
    t = s.one(s.rcpt)
    assert t.session.tls.startswith("TLSv1.")
    commands = [c.split()[0] for c in t.session.commands]
    assert commands[:3] == ["EHLO", "STARTTLS", "EHLO"]


@pytest.mark.parametrize("rule", ["454 4.7.0 not available", "501 5.5.1 what", Drop(), Raw(b"220 go\r\nthis is not TLS\r\n" * 3)],
                         ids=["454", "501", "drop", "broken"])
def test_opportunistic_falls_back_to_clear(shared, site, context, rule):
    uses = [rule] * 50
    s = site(tls=context, rules={"starttls": uses})
    send(shared, s)
    t = s.one(s.rcpt, timeout=60)
    assert t.session.tls == ""


def test_injected_reply_behind_starttls(shared, site, context):
    """Data after the 220 in the same segment never supplies a later reply."""
    s = site(tls=context, rules={"starttls": [Raw(b"220 go\r\n250-evil.example\r\n250 SIZE 1\r\n250 ok\r\n")] * 50})
    send(shared, s)
    t = s.one(s.rcpt, timeout=60)
    assert t.session.tls == "" and t.sender_params.get("SIZE")


def test_no_reply_is_not_taken_for_success(shared, site):
    """A message counts as delivered only on a 2xx to its own end of data."""
    s = site(rules={"eod": ["354 still going", "250 2.0.0 now"]})
    send(shared, s)
    wait_until(lambda: s.all(s.rcpt) or shared.sink.all(s.back), 60, "delivered or bounced")
    assert s.all(s.rcpt)
