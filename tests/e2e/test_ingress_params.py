"""Addresses, parameters and the question who may send where."""
import pytest

from harness.smtp import mail

CONFIG = {
    "ingress": {"trusted_networks": ["127.0.0.1/32"], "own_domains": ["ours.example", "mx.test.example"],
                "relay_domains": ["relayed.example", ".sub.example"]},
}
OUTSIDER = "127.0.0.9"


def route_of(shared):
    for d in ("ours.example", "relayed.example", "a.sub.example"):
        if (d, "MX") not in shared.dns.records:
            shared.dns.mx(d, (10, "mx.dest.example"))


GOOD_SENDERS = ["<>", "<s@src.example>", "<S.o-m+e_b'o/d=y@Src.Example>", '<"quo ted"@src.example>', '<"a@b"@src.example>',
                "<s@[192.0.2.1]>", "<s@[IPv6:2001:db8::1]>", "<@hop.example,@two.example:s@src.example>",
                f"<{'l' * 64}@src.example>", f"<l@{'d' * 63}.example>"]
BAD_SENDERS = ["", "s@src.example", "<s@src.example", "s@src.example>", "<s>", "<@src.example>", "<s@>", "<s@@src.example>",
               "<s@src..example>", "<s@.example>", "<.s@src.example>", "<s..t@src.example>", "<s t@src.example>",
               "<s@-src.example>", "<s@src.example-.x>", "<s@[300.1.1.1]>", "<s@[192.0.2.1>", "<s@[IPv6:zz::1]>",
               '<"unclosed@src.example>', '<"a"b@src.example>', "<<s@src.example>>", "<s@src.example>x", f"<{'l' * 65}@src.example>",
               f"<l@{'d' * 64}.example>", f"<s@{'d' * 60}.{'d' * 60}.{'d' * 60}.{'d' * 60}.example.org>", "<s@src_.example\x01>",
               "<s@exämple.org>"]


@pytest.mark.parametrize("path", GOOD_SENDERS)
def test_sender_taken(session, path):
    session.expect(f"MAIL FROM:{path}", 250)


@pytest.mark.parametrize("path", BAD_SENDERS)
def test_sender_refused(session, path):
    r = session.cmd(f"MAIL FROM:{path}".encode())
    assert r.code in (500, 501, 553), str(r)
    assert session.cmd("RCPT TO:<a@dest.example>") == 503


def test_256_octets_of_path(session):
    # 64 + 1 + 189 and the brackets: 256.
    domain = ".".join(["d" * 60] * 3) + ".exampl"[:7]
    domain = domain[:189]
    session.expect(f"MAIL FROM:<{'l' * 64}@{domain}>", 250)
    session.expect("RSET", 250)
    assert session.cmd(f"MAIL FROM:<{'l' * 64}@{domain}x>").code in (501, 553)


GOOD_PARAMS = ["SIZE=0", "SIZE=1000", "BODY=7BIT", "BODY=8BITMIME", "body=8bitmime", "SMTPUTF8", "RET=FULL", "RET=hdrs", "ENVID=abc",
               "ENVID=a+2Bb", "SIZE=10 BODY=8BITMIME RET=HDRS ENVID=x SMTPUTF8", "BODY=BINARYMIME"]
BAD_PARAMS = ["SIZE=", "SIZE=-1", "SIZE=1x", "SIZE", "SIZE=1 SIZE=2", "SIZE=99999999999999999999999", "BODY=9BIT", "BODY", "SMTPUTF8=1",
              "RET=ALL", "RET", "RET=FULL RET=FULL", "ENVID=", "ENVID=a+0D+0A", "ENVID=a+0db", "ENVID=a+2", "ENVID=+", f"ENVID={'x' * 101}",
              "FOO", "FOO=bar", "AUTH=<>", "NOTIFY=NEVER", "=x", "SIZE=1,2", "HOLDFOR=5"]


@pytest.mark.parametrize("params", GOOD_PARAMS)
def test_mail_parameters_taken(session, params):
    session.expect(f"MAIL FROM:<s@src.example> {params}", 250)


@pytest.mark.parametrize("params", BAD_PARAMS)
def test_mail_parameters_refused(session, params):
    r = session.cmd(f"MAIL FROM:<s@src.example> {params}")
    assert r.code in (500, 501, 504, 552, 555), str(r)
    assert session.cmd("RCPT TO:<a@dest.example>") == 503


def test_size_over_the_limit(session):
    r = session.cmd("MAIL FROM:<s@src.example> SIZE=999999999")
    assert r == 552 and r.enhanced == "5.3.4", str(r)


@pytest.mark.parametrize("params", ["NOTIFY=NEVER", "NOTIFY=SUCCESS,FAILURE,DELAY", "notify=failure", "ORCPT=rfc822;a+2Bb@x.example",
                                    "NOTIFY=DELAY ORCPT=rfc822;x@y.example", "ORCPT=utf-8;x@y.example"])
def test_rcpt_parameters_taken(session, params):
    session.expect("MAIL FROM:<s@src.example>", 250)
    session.expect(f"RCPT TO:<a@dest.example> {params}", 250)


@pytest.mark.parametrize("params", ["NOTIFY=", "NOTIFY", "NOTIFY=NEVER,SUCCESS", "NOTIFY=SOMETIMES", "NOTIFY=FAILURE,", "NOTIFY=NEVER NOTIFY=NEVER",
                                    "ORCPT=a@b.example", "ORCPT=rfc822;", "ORCPT=rfc822;a+0D+0Ab@x", "ORCPT=rfc822;a+00@x", "ORCPT=rfc822;+",
                                    f"ORCPT=rfc822;{'x' * 520}", "ORCPT=rfc822;a ORCPT=rfc822;a", "SIZE=1", "FOO"])
def test_rcpt_parameters_refused(session, params):
    session.expect("MAIL FROM:<s@src.example>", 250)
    r = session.cmd(f"RCPT TO:<a@dest.example> {params}")
    assert r.code in (500, 501, 504, 555), str(r)
    assert session.cmd("DATA").code in (503, 554)


def test_no_parameters_after_helo(shared):
    """Extensions are the client's to use only after EHLO offered them."""
    with shared.smtp(helo=None) as c:
        c.expect("HELO client.example", 250)
        assert c.cmd("MAIL FROM:<s@src.example> SIZE=10").code in (501, 555)
        c.expect("MAIL FROM:<s@src.example>", 250)


def test_utf8_addresses(shared, session, fresh):
    for path in ("<jörg@src.example>", "<s@exämple.org>"):
        r = session.cmd(f"MAIL FROM:{path}".encode())
        assert r.code in (501, 553), str(r)
        session.expect(f"MAIL FROM:{path} SMTPUTF8".encode(), 250)
        session.expect("RSET", 250)
    r = session.cmd("MAIL FROM:<jörg@src.example>".encode())
    assert r == 553 and r.enhanced == "5.6.7", str(r)
    session.expect("MAIL FROM:<s@src.example>", 250)
    r = session.cmd("RCPT TO:<jörg@dest.example>".encode())
    assert r == 553 and r.enhanced == "5.6.7", str(r)
    session.expect("RSET", 250)
    local = "jörg." + fresh
    session.expect("MAIL FROM:<jörg@src.example> SMTPUTF8 BODY=8BITMIME".encode(), 250)
    session.expect(f"RCPT TO:<{local}>".encode(), 250)
    assert session.data(mail(body="grüße\r\n")) == 250
    t = shared.sink.one(local)
    assert t.sender == "jörg@src.example" and "SMTPUTF8" in t.sender_params
    assert t.content.endswith("grüße\r\n".encode())


@pytest.mark.parametrize("raw", [b"\xc0\xaf", b"\xed\xa0\x80", b"\xff", b"\xe2\x82", b"\xf5\x80\x80\x80"])
def test_malformed_utf8_is_refused(session, raw):
    r = session.cmd(b"MAIL FROM:<a" + raw + b"@src.example> SMTPUTF8")
    assert r.code in (500, 501, 553), str(r)
    assert session.alive()


def test_postmaster_without_domain(shared):
    with shared.smtp(source=OUTSIDER) as c:
        c.expect("MAIL FROM:<s@far.example>", 250)
        c.expect("RCPT TO:<postmaster>", 250)
        c.expect("RCPT TO:<PostMaster>", 250)


# ---- relay

SENDERS = ["<>", "<u@ours.example>", "<s@far.example>", "<s@[192.0.2.1]>"]
FOREIGN = ["<u@victim.example>", "<u%victim.example@victim.example>", '<"u@ours.example"@victim.example>', "<@ours.example:u@victim.example>",
           "<u@victim.example.ours>", "<u@[192.0.2.7]>", "<u@[127.0.0.1]>", "<u@notours.example>", "<u@ours.example.victim.example>",
           "<ours.example!u@victim.example>", '<"ours.example!u"@victim.example>', "<u@sub.ours.example>", "<u@sub.example>",
           "<u@xsub.example>", "<u@a.relayed.example>", "<u@ours.example@victim.example>", "<u>", "<u@>", "<u%victim.example>",
           "<u@ours.example\x00.victim.example>", "<u@ours.example >"]
OURS = ["<u@ours.example>", "<U@OURS.Example>", '<"u@victim.example"@ours.example>', "<u%victim.example@ours.example>",
        "<victim.example!u@ours.example>", "<@victim.example:u@ours.example>", "<u@relayed.example>", "<u@a.sub.example>"]


@pytest.mark.parametrize("sender", SENDERS)
def test_outsiders_may_not_relay(shared, sender):
    with shared.smtp(source=OUTSIDER, helo=None) as c:
        for rcpt in FOREIGN:
            c.ehlo()
            c.expect(f"MAIL FROM:{sender}", 250)
            r = c.cmd(b"RCPT TO:" + rcpt.encode())
            assert r.code in (500, 501, 550, 553), f"{rcpt}: {r}"
            if r == 550:
                assert r.enhanced == "5.7.1", str(r)
            assert c.cmd("DATA").code in (503, 554)
            c.close()
            c = shared.smtp(source=OUTSIDER, helo=None)
        c.close()


@pytest.mark.parametrize("rcpt", OURS)
def test_own_and_relay_domains_take_mail_from_anyone(shared, rcpt):
    with shared.smtp(source=OUTSIDER) as c:
        c.expect("MAIL FROM:<s@far.example>", 250)
        c.expect(f"RCPT TO:{rcpt}", 250)


def test_the_last_at_sign_routes(shared):
    """What looks like another domain inside a local part has no routing meaning."""
    route_of(shared)
    for local in ('"u@victim.example"', "u%victim.example", "victim.example!u"):
        rcpt = local + "@ours.example"
        with shared.smtp(source=OUTSIDER) as c:
            c.message("s@far.example", rcpt, mail())
        t = shared.sink.one(rcpt)
        assert t.rcpts == [rcpt]
    assert not shared.dns.asked("victim.example")


def test_source_route_is_dropped(shared):
    route_of(shared)
    with shared.smtp() as c:
        c.message("s@src.example", "@hop.example:routed@dest.example", mail())
    assert shared.sink.one("routed@dest.example").rcpts == ["routed@dest.example"]
    assert not shared.dns.asked("hop.example")


def test_case_of_the_local_part_is_kept(shared):
    with shared.smtp() as c:
        c.message("MixedCase@Src.Example", "CamelCase@DEST.example", mail())
    t = shared.sink.one("CamelCase@DEST.example")
    assert t.sender == "MixedCase@Src.Example"


def test_trusted_clients_relay(shared, fresh):
    shared.submit(fresh)
    shared.sink.one(fresh)
