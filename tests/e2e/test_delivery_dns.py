"""Where mail goes: MX, addresses, aliases, and everything DNS can do wrong."""
import dnslib
import pytest
from dnslib import QTYPE, RR

from harness.dns import Rule
from harness.smtp import mail
from harness.wait import stays, wait_until

CONFIG = {"queue": {"retry": ["1s", "1s", "2s"], "retry_jitter": "0%", "delay_warning": "0s"},
          "delivery": {"timeouts": {"connect": "2s"}}}


def attempts(box, id_):
    m = box.api.get(f"/api/v1/messages/{id_}")
    return m["attempts"]


def deferred(box, id_, n=1):
    """Waits until the message was tried n times and is still there."""
    wait_until(lambda: attempts(box, id_) >= n, 40, f"{n} attempts for {id_}")
    return box.api.get(f"/api/v1/messages/{id_}")


def bounce(box, domain, sender="s", rcpt="user"):
    """Sends to rcpt@domain and returns the failure DSN that comes back, as bytes."""
    back = f"{sender}.{domain}@src.example"
    box.submit(f"{rcpt}@{domain}", sender=back)
    t = box.sink.one(back, timeout=40)
    assert t.sender == "" and b"multipart/report" in t.content
    return t.content


def test_preference_order(shared, mx, domain):
    better, worse = mx(shared), mx(shared)
    shared.dns.mx(domain, (20, f"w.{domain}", worse.host), (10, f"b.{domain}", better.host))
    for i in range(5):
        shared.submit(f"u{i}@{domain}")
        better.one(f"u{i}@{domain}")
    assert not worse.sessions


def test_next_when_the_first_is_down(shared, mx, domain):
    second = mx(shared)
    shared.dns.mx(domain, (10, f"down.{domain}", shared.host()), (20, f"up.{domain}", second.host))
    id_ = shared.submit(f"u@{domain}")
    second.one(f"u@{domain}")
    assert id_


@pytest.mark.parametrize("greeting", ["421 4.3.2 not now", "450 4.3.2 busy"])
def test_next_when_the_first_greets_with_4xx(shared, mx, domain, greeting):
    first, second = mx(shared, rules={"connect": greeting}), mx(shared)
    shared.dns.mx(domain, (10, f"a.{domain}", first.host), (20, f"b.{domain}", second.host))
    shared.submit(f"u@{domain}")
    second.one(f"u@{domain}")
    assert first.sessions


def test_equal_ones_share(shared, mx, domain):
    a, b = mx(shared, close_after=1), mx(shared, close_after=1)
    shared.dns.mx(domain, (10, f"a.{domain}", a.host), (10, f"b.{domain}", b.host))
    for i in range(30):
        shared.submit(f"u{i}@{domain}")
    wait_until(lambda: len(a.all()) + len(b.all()) == 30, 30, "30 delivered")
    # 2 * 2^-30 of going all one way by chance.
    assert a.all() and b.all()


def test_all_addresses_of_a_host(shared, mx, domain):
    s = mx(shared)
    shared.dns.mx(domain, (10, f"h.{domain}", shared.host(), shared.host(), s.host))
    shared.submit(f"u@{domain}")
    s.one(f"u@{domain}")


def test_no_mx_means_the_address(shared, mx, domain):
    s = mx(shared)
    shared.dns.zone(f"{domain} A {s.host}")
    shared.submit(f"u@{domain}")
    s.one(f"u@{domain}")


def test_mx_without_address_is_not_the_domains_address(shared, mx, domain):
    s = mx(shared)
    shared.dns.zone(f"{domain} A {s.host}\n{domain} MX 10 nowhere.{domain}")
    back = f"s.{domain}@src.example"
    id_ = shared.submit(f"u@{domain}", sender=back)
    wait_until(lambda: shared.sink.all(back) or attempts(shared, id_) >= 2, 30, "bounced or deferred")
    assert not s.sessions


def test_ipv6(shared, mx, domain):
    s = mx(shared, "::1")
    shared.dns.mx(domain, (10, f"six.{domain}", "::1"))
    shared.submit(f"u@{domain}")
    s.one(f"u@{domain}")


def test_ipv6_down_ipv4_up(shared, mx, domain):
    s = mx(shared)
    shared.dns.mx(domain, (10, f"both.{domain}", "::1", s.host))
    shared.submit(f"u@{domain}")
    s.one(f"u@{domain}")


def test_domain_is_an_alias(shared, mx, domain):
    s = mx(shared)
    shared.dns.mx("real." + domain, (10, f"m.{domain}", s.host))
    shared.dns.zone(f"{domain} CNAME real.{domain}")
    shared.submit(f"u@{domain}")
    s.one(f"u@{domain}")


def test_exchanger_is_an_alias(shared, mx, domain):
    s = mx(shared)
    shared.dns.zone(f"{domain} MX 10 alias.{domain}\nalias.{domain} CNAME host.{domain}\nhost.{domain} A {s.host}")
    shared.submit(f"u@{domain}")
    s.one(f"u@{domain}")


def test_alias_loop_defers(shared, domain):
    shared.dns.zone(f"{domain} CNAME b.{domain}\nb.{domain} CNAME {domain}")
    id_ = shared.submit(f"u@{domain}")
    deferred(shared, id_)


def test_null_mx_bounces(shared, domain):
    shared.dns.zone(f"{domain} MX 0 .")
    text = bounce(shared, domain)
    assert b"5.1.10" in text


def test_unknown_domain_bounces(shared, domain):
    text = bounce(shared, "no-such-" + domain)
    assert b"5.1.2" in text


def test_domain_without_any_address_bounces(shared, domain):
    shared.dns.zone(f"{domain} TXT hello")
    text = bounce(shared, domain)
    assert b"\r\nStatus: 5." in text


@pytest.mark.parametrize("rule", [Rule("SERVFAIL"), Rule("REFUSED"), Rule("NOTIMP"), Rule(raw=b"\x81\x80garbage"), Rule(raw=b"")],
                         ids=["servfail", "refused", "notimp", "garbage", "short"])
def test_broken_dns_defers_and_recovers(shared, mx, domain, rule):
    s = mx(shared)
    shared.dns.mx(domain, (10, f"m.{domain}", s.host))
    shared.dns.rules[(domain, "MX")] = rule
    id_ = shared.submit(f"u@{domain}")
    deferred(shared, id_)
    del shared.dns.rules[(domain, "MX")]
    s.one(f"u@{domain}", timeout=60)


def test_silent_dns_defers(shared, domain):
    shared.dns.rules[domain] = Rule(silent=True)
    id_ = shared.submit(f"u@{domain}")
    # It does not hold up others meanwhile.
    shared.submit(f"beside-{domain}@dest.example")
    shared.sink.one(f"beside-{domain}@dest.example", timeout=10)
    wait_until(lambda: attempts(shared, id_) >= 1, 90, "given up for now")
    assert not shared.sink.all(f"s.{domain}@src.example")


def test_slow_dns(shared, mx, domain):
    s = mx(shared)
    shared.dns.mx(domain, (10, f"m.{domain}", s.host))
    shared.dns.rules[(domain, "MX")] = Rule(delay=1.0)
    shared.submit(f"u@{domain}")
    s.one(f"u@{domain}")


def test_truncated_answer_goes_to_tcp(shared, mx, domain):
    s = mx(shared)
    shared.dns.mx(domain, (10, f"m.{domain}", s.host))
    shared.dns.rules[(domain, "MX")] = Rule(truncate=True)
    shared.submit(f"u@{domain}")
    s.one(f"u@{domain}")
    assert [q for q in shared.dns.asked(domain, "MX") if q[1] == "tcp"]


def test_large_set_is_capped(shared, mx, domain):
    """A thousand exchangers are no reason for a thousand connections."""
    s = mx(shared, rules={"connect": "421 4.3.2 go away"})
    shared.dns.mx(domain, *[(i, f"m{i}.{domain}", s.host) for i in range(150)])
    id_ = shared.submit(f"u@{domain}")
    deferred(shared, id_)
    first = len(s.sessions)
    assert 1 <= first <= 20, first


def test_best_exchanger_is_us(shared, domain):
    shared.dns.zone(f"{domain} MX 10 mx.test.example\nmx.test.example A {shared.host()}")
    text = bounce(shared, domain)
    assert b"5.4.6" in text
    shared.dns.remove("mx.test.example")


def test_we_are_a_backup(shared, mx, domain):
    """Hosts at our own preference or worse are not tried."""
    better, worse = mx(shared), mx(shared)
    shared.dns.zone("mx.test.example A 127.0.0.9")
    shared.dns.mx(domain, (10, f"better.{domain}", better.host), (20, "mx.test.example"), (30, f"worse.{domain}", worse.host))
    shared.submit(f"u@{domain}")
    better.one(f"u@{domain}")
    better.down()
    id_ = shared.submit(f"v@{domain}")
    deferred(shared, id_)
    assert not worse.sessions


def test_odd_names_in_answers(shared, domain):
    """Labels with control bytes, dots and spaces: no crash, no injection into logs."""
    label = dnslib.DNSLabel([b"a\r\nb", b"c d", b"\x00", b"example"])
    shared.dns.add(domain, "MX", RR(domain + ".", QTYPE.MX, ttl=60, rdata=dnslib.MX(label, 10)))
    back = f"s.{domain}@src.example"
    id_ = shared.submit(f"u@{domain}", sender=back)
    wait_until(lambda: shared.sink.all(back) or attempts(shared, id_) >= 1, 30, "bounced or deferred")
    shared.submit(f"after-{domain}@dest.example")
    shared.sink.one(f"after-{domain}@dest.example")


def test_address_literals(shared, mx):
    s = mx(shared)
    shared.submit(f"u@[{s.host}]")
    s.one(f"u@[{s.host}]")


def test_cache_asks_once(shared, mx, domain):
    s = mx(shared)
    shared.dns.mx(domain, (10, f"m.{domain}", s.host))
    for i in range(10):
        shared.submit(f"u{i}@{domain}")
    s.wait(n=10)
    assert len(shared.dns.asked(domain, "MX")) <= 4


def test_refused_networks(box, mx):
    """By default an MX that points at this machine is not believed; a route in the configuration is."""
    box.start(config={"delivery": {"refused_networks": None},
                      "queue": {"retry": ["1h"]},
                      "routes": [{"domain": "src.example", "via": f"[127.0.0.2]:{box.smtp_port}"}]})
    trap = mx(box)
    for i, target in enumerate([trap.host, "::1", "169.254.1.1", "0.0.0.0"]):
        box.dns.mx(f"bad{i}.example", (10, f"m{i}.example", target))
        back = f"s{i}@src.example"
        id_ = box.submit(f"u@bad{i}.example", sender=back)

        def over():
            if box.sink.all(back):
                return True
            return attempts(box, id_) >= 1

        wait_until(over, 30, f"{target} bounced or deferred")
    assert not trap.sessions


def test_next_attempts_use_fresh_dns(shared, mx, domain):
    """What was NXDOMAIN for an exchanger's address is asked again at a later attempt."""
    s = mx(shared)
    shared.dns.mx(domain, (10, f"m.{domain}"))
    shared.dns.rules[f"m.{domain}"] = Rule("SERVFAIL")
    id_ = shared.submit(f"u@{domain}")
    deferred(shared, id_)
    shared.dns.zone(f"m.{domain} A {s.host}")
    del shared.dns.rules[f"m.{domain}"]
    s.one(f"u@{domain}", timeout=60)


def test_subdomain_is_its_own_domain(shared, mx, domain):
    s = mx(shared)
    shared.dns.mx(domain, (10, f"m.{domain}", shared.host()))
    shared.dns.mx("sub." + domain, (10, f"s.{domain}", s.host))
    shared.submit(f"u@sub.{domain}", content=mail())
    s.one(f"u@sub.{domain}")
    stays(lambda: len(s.all()) == 1, 0.3)
