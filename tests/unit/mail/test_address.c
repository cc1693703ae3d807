/* Envelope addresses, domains and literals against tables of good and bad forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/mail/address.h"
#include "tests/unit/mail/exact.h"

#define A10 "aaaaaaaaaa"
#define A60 A10 A10 A10 A10 A10 A10
#define L63 A60 "aaa"
#define DOMAIN_255 L63 "." L63 "." L63 "." L63
#define NUL_SLICE(s)                                                                                                   \
    {                                                                                                                  \
        (s), sizeof(s) - 1                                                                                             \
    }

enum { N = MAIL_ADDRESS_ALLOW_NULL, U = MAIL_ADDRESS_ALLOW_UTF8, B = MAIL_ADDRESS_BARE };

static int parse(struct pr_slice in, unsigned flags, struct mail_address *a, struct pr_slice *rest)
{
    *a = (struct mail_address){.kind = (enum mail_address_kind)99};
    *rest = pr_slice(NULL, 99);
    return mail_address_parse(in, flags, a, rest);
}

static const struct {
    const char *in;
    unsigned flags;
    enum mail_address_kind kind;
    const char *text, *local, *domain, *rest;
} good[] = {
    {"<user@example.com>", 0, MAIL_ADDRESS_DOMAIN, "user@example.com", "user", "example.com", ""},
    {"<User@Example.COM> SIZE=1", 0, MAIL_ADDRESS_DOMAIN, "User@Example.COM", "User", "Example.COM", " SIZE=1"},
    {"<a@b>>", 0, MAIL_ADDRESS_DOMAIN, "a@b", "a", "b", ">"},
    {"<>", N, MAIL_ADDRESS_NULL, "", "", "", ""},
    {"<> X", N, MAIL_ADDRESS_NULL, "", "", "", " X"},
    {"", N | B, MAIL_ADDRESS_NULL, "", "", "", ""},
    {"<postmaster>", 0, MAIL_ADDRESS_LOCAL, "postmaster", "postmaster", "", ""},
    {"<PostMaster>", 0, MAIL_ADDRESS_LOCAL, "PostMaster", "PostMaster", "", ""},
    {"user@example.com", B, MAIL_ADDRESS_DOMAIN, "user@example.com", "user", "example.com", ""},
    {"postmaster", B, MAIL_ADDRESS_LOCAL, "postmaster", "postmaster", "", ""},
    {"<first.last+tag@x-y.example>", 0, MAIL_ADDRESS_DOMAIN, "first.last+tag@x-y.example", "first.last+tag",
     "x-y.example", ""},
    {"<!#$%&'*+-/=?^_`{|}~@b>", 0, MAIL_ADDRESS_DOMAIN, "!#$%&'*+-/=?^_`{|}~@b", "!#$%&'*+-/=?^_`{|}~", "b", ""},
    /* Only the domain behind the last unquoted @ routes; % and ! mean nothing. */
    {"<\"a@evil x\"@ours.test>", 0, MAIL_ADDRESS_DOMAIN, "\"a@evil x\"@ours.test", "\"a@evil x\"", "ours.test", ""},
    {"<\"u@v.test\"@ours.test>", 0, MAIL_ADDRESS_DOMAIN, "\"u@v.test\"@ours.test", "\"u@v.test\"", "ours.test", ""},
    {"<\"\\\"@x\"@ours.test>", 0, MAIL_ADDRESS_DOMAIN, "\"\\\"@x\"@ours.test", "\"\\\"@x\"", "ours.test", ""},
    {"<\"a>b\"@ours.test>", 0, MAIL_ADDRESS_DOMAIN, "\"a>b\"@ours.test", "\"a>b\"", "ours.test", ""},
    {"<\"\"@ours.test>", 0, MAIL_ADDRESS_DOMAIN, "\"\"@ours.test", "\"\"", "ours.test", ""},
    {"<\"\\ \"@ours.test>", 0, MAIL_ADDRESS_DOMAIN, "\"\\ \"@ours.test", "\"\\ \"", "ours.test", ""},
    {"<u%v.test@ours.test>", 0, MAIL_ADDRESS_DOMAIN, "u%v.test@ours.test", "u%v.test", "ours.test", ""},
    {"<v.test!u@ours.test>", 0, MAIL_ADDRESS_DOMAIN, "v.test!u@ours.test", "v.test!u", "ours.test", ""},
    /* Source routes are dropped. */
    {"<@ours.test:u@v.test>", 0, MAIL_ADDRESS_DOMAIN, "u@v.test", "u", "v.test", ""},
    {"<@a,@b.c,@d:u@v.test>", N, MAIL_ADDRESS_DOMAIN, "u@v.test", "u", "v.test", ""},
    {"<@a:postmaster>", 0, MAIL_ADDRESS_LOCAL, "postmaster", "postmaster", "", ""},
    /* One trailing dot is the same name. */
    {"<u@ours.test.>", 0, MAIL_ADDRESS_DOMAIN, "u@ours.test", "u", "ours.test", ""},
    {"<u@1.example>", 0, MAIL_ADDRESS_DOMAIN, "u@1.example", "u", "1.example", ""},
    {"<u@iana.123>", 0, MAIL_ADDRESS_DOMAIN, "u@iana.123", "u", "iana.123", ""},
    {"<u@xn--bcher-kva.example>", 0, MAIL_ADDRESS_DOMAIN, "u@xn--bcher-kva.example", "u", "xn--bcher-kva.example", ""},
    /* Literals. */
    {"<u@[192.0.2.1]>", 0, MAIL_ADDRESS_LITERAL, "u@[192.0.2.1]", "u", "[192.0.2.1]", ""},
    {"<u@[IPv6:2001:db8::1]>", 0, MAIL_ADDRESS_LITERAL, "u@[IPv6:2001:db8::1]", "u", "[IPv6:2001:db8::1]", ""},
    {"<u@[ipv6:::ffff:192.0.2.1]> X", 0, MAIL_ADDRESS_LITERAL, "u@[ipv6:::ffff:192.0.2.1]", "u",
     "[ipv6:::ffff:192.0.2.1]", " X"},
    /* UTF-8. */
    {"<\xc3\xbcser@b\xc3\xbc"
     "cher.example>",
     U, MAIL_ADDRESS_DOMAIN,
     "\xc3\xbcser@b\xc3\xbc"
     "cher.example",
     "\xc3\xbcser",
     "b\xc3\xbc"
     "cher.example",
     ""},
    {"<\"\xe4\xbd\xa0 \xe5\xa5\xbd\"@x>", U, MAIL_ADDRESS_DOMAIN, "\"\xe4\xbd\xa0 \xe5\xa5\xbd\"@x",
     "\"\xe4\xbd\xa0 \xe5\xa5\xbd\"", "x", ""},
    {"<\xf0\x9f\x93\xac@x>", U, MAIL_ADDRESS_DOMAIN, "\xf0\x9f\x93\xac@x", "\xf0\x9f\x93\xac", "x", ""},
    /* Limits reached. */
    {"<" A60 "aaaa@b>", 0, MAIL_ADDRESS_DOMAIN, A60 "aaaa@b", A60 "aaaa", "b", ""},
    {"<a@" L63 ">", 0, MAIL_ADDRESS_DOMAIN, "a@" L63, "a", L63, ""},
    {"<a@" L63 "." L63 "." L63 "." A60 ">", 0, MAIL_ADDRESS_DOMAIN, "a@" L63 "." L63 "." L63 "." A60, "a",
     L63 "." L63 "." L63 "." A60, ""},
};

static void accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(good); i++) {
        struct mail_address a;
        struct pr_slice rest, in = exact(pr_slice_str(good[i].in));
        int rc = parse(in, good[i].flags, &a, &rest);
        if (rc != 0)
            fail_msg("%s: %s", good[i].in, pr_errname(rc));
        assert_int_equal(a.kind, good[i].kind);
        assert_slice_str(a.text, good[i].text);
        assert_slice_str(a.local, good[i].local);
        assert_slice_str(a.domain, good[i].domain);
        assert_slice_str(rest, good[i].rest);
        assert_int_equal(a.utf8, (good[i].flags & U) != 0);
        exact_free(in);
    }
}

static const struct {
    struct pr_slice in;
    unsigned flags;
    int rc;
} bad[] = {
    /* Shape. */
    {NUL_SLICE(""), 0, PR_EPARSE},
    {NUL_SLICE(""), N, PR_EPARSE},
    {NUL_SLICE(""), B, PR_EPARSE},
    {NUL_SLICE("<>"), 0, PR_EPARSE},
    {NUL_SLICE("<"), N, PR_EPARSE},
    {NUL_SLICE("< >"), N, PR_EPARSE},
    {NUL_SLICE("user@example.com"), 0, PR_EPARSE},
    {NUL_SLICE("<user@example.com"), 0, PR_EPARSE},
    {NUL_SLICE("<user@example.com x>"), 0, PR_EPARSE},
    {NUL_SLICE("< user@example.com>"), 0, PR_EPARSE},
    {NUL_SLICE("<user@example.com >"), 0, PR_EPARSE},
    {NUL_SLICE("<user>"), 0, PR_EPARSE},
    {NUL_SLICE("<postmaster>"), N, PR_EPARSE},
    {NUL_SLICE("<\"postmaster\">"), 0, PR_EPARSE},
    {NUL_SLICE("<@example.com>"), 0, PR_EPARSE},
    {NUL_SLICE("<user@>"), 0, PR_EPARSE},
    {NUL_SLICE("<user@@example.com>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@b@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<<a@b>>"), 0, PR_EPARSE},
    {NUL_SLICE("<a,b@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<a:b@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<a;b@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<a b@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<(x)a@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@c(x)>"), 0, PR_EPARSE},
    {NUL_SLICE("a@b c"), B, PR_EPARSE},
    {NUL_SLICE("<a@b>"), B, PR_EPARSE},
    {NUL_SLICE("|/bin/sh@x y"), B, PR_EPARSE},
    /* Local-part. */
    {NUL_SLICE("<.a@b>"), 0, PR_EPARSE},
    {NUL_SLICE("<a.@b>"), 0, PR_EPARSE},
    {NUL_SLICE("<a..b@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a@b>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a\\\"@b>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a\"b@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<a\"b\"@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a\".b@c>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"\\"), 0, PR_EPARSE},
    /* Control bytes, wherever they hide. */
    {NUL_SLICE("<a\0@b>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@b\0>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@b\0.c>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a\r\n b\"@x>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a\\\r\"@x>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a\\\n\"@x>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a\\\0\"@x>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a\tb\"@x>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"a\x7f\"@x>"), 0, PR_EPARSE},
    {NUL_SLICE("<a\x7f@x>"), 0, PR_EPARSE},
    {NUL_SLICE("<a\n@x>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@x\r>"), 0, PR_EPARSE},
    {NUL_SLICE("<a\xc2\x85@x>"), U, PR_EPARSE},
    {NUL_SLICE("<a@x\xc2\x80>"), U, PR_EPARSE},
    {NUL_SLICE("<a@x\xe2\x80\xa9y>"), U, PR_EPARSE},
    {NUL_SLICE("<\"a\xe2\x80\xa8\"@x>"), U, PR_EPARSE},
    /* Domain. */
    {NUL_SLICE("<a@.b>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@b..c>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@b..>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@.>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@-b>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@b->"), 0, PR_EPARSE},
    {NUL_SLICE("<a@b-.c>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@b_c.d>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@b/c>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@192.0.2.1>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@2130706433>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@\"b\">"), 0, PR_EPARSE},
    /* Literals. */
    {NUL_SLICE("<a@[]>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@[192.0.2.1>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@[192.0.2.1]x>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@[192.0.2.1].com>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@[x400:y]>"), 0, PR_EPARSE},
    {NUL_SLICE("<a@[192.0.2.1\r\n]>"), 0, PR_EPARSE},
    /* Source routes. */
    {NUL_SLICE("<@a>"), 0, PR_EPARSE},
    {NUL_SLICE("<@a:>"), 0, PR_EPARSE},
    {NUL_SLICE("<@:u@v>"), 0, PR_EPARSE},
    {NUL_SLICE("<@a,:u@v>"), 0, PR_EPARSE},
    {NUL_SLICE("<@a,b:u@v>"), 0, PR_EPARSE},
    {NUL_SLICE("<@a;@b:u@v>"), 0, PR_EPARSE},
    {NUL_SLICE("<@a, @b:u@v>"), 0, PR_EPARSE},
    {NUL_SLICE("<@a@b:u@v>"), 0, PR_EPARSE},
    {NUL_SLICE("@a:u@v"), B, PR_EPARSE},
    /* UTF-8: without leave, and ill-formed whatever the leave. */
    {NUL_SLICE("<\xc3\xbc@x>"), 0, PR_EVERSION},
    {NUL_SLICE("<a@\xc3\xbc.x>"), 0, PR_EVERSION},
    {NUL_SLICE("<\"\xc3\xbc\"@x>"), 0, PR_EVERSION},
    {NUL_SLICE("<@\xc3\xbc:a@x>"), 0, PR_EVERSION},
    {NUL_SLICE("\xc3\xbc@x"), B, PR_EVERSION},
    {NUL_SLICE("<\xc3@x>"), U, PR_EPARSE},
    {NUL_SLICE("<\xbc@x>"), U, PR_EPARSE},
    {NUL_SLICE("<\xc0\xae@x>"), U, PR_EPARSE},
    {NUL_SLICE("<\xe0\x80\xaf@x>"), U, PR_EPARSE},
    {NUL_SLICE("<\xed\xa0\x80@x>"), U, PR_EPARSE},
    {NUL_SLICE("<\xf4\x90\x80\x80@x>"), U, PR_EPARSE},
    {NUL_SLICE("<\xff@x>"), U, PR_EPARSE},
    {NUL_SLICE("<\"\xc3\"@x>"), U, PR_EPARSE},
    {NUL_SLICE("<a@x\xc3>"), U, PR_EPARSE},
    {NUL_SLICE("<a@x.\xc0\xae.y>"), U, PR_EPARSE},
    {NUL_SLICE("<\xc3@x>"), 0, PR_EPARSE},
    {NUL_SLICE("<\"\\\xc3\xbc\"@x>"), U, PR_EPARSE},
    /* Dots of other scripts, which IDNA maps to '.'. */
    {NUL_SLICE("<a@ours\xe3\x80\x82test>"), U, PR_EPARSE},
    {NUL_SLICE("<a@ours\xef\xbc\x8etest>"), U, PR_EPARSE},
    {NUL_SLICE("<a@ours\xef\xbd\xa1test>"), U, PR_EPARSE},
    /* Limits passed. */
    {NUL_SLICE("<" A60 "aaaaa@b>"), 0, PR_ETOOBIG},
    {NUL_SLICE("<\"" A60 "aaa\"@b>"), 0, PR_ETOOBIG},
    {NUL_SLICE("<a@" L63 "a>"), 0, PR_ETOOBIG},
    {NUL_SLICE("<a@" L63 "." L63 "." L63 "." A60 "a>"), 0, PR_ETOOBIG},
    {NUL_SLICE("<a@" DOMAIN_255 ".a>"), 0, PR_ETOOBIG},
    {NUL_SLICE("<@" L63 ",@" L63 ",@" L63 ":a@" L63 ">"), 0, PR_ETOOBIG},
    {NUL_SLICE("a@" L63 "." L63 "." L63 "." A60 "a"), B, PR_ETOOBIG},
};

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(bad); i++) {
        struct mail_address a;
        struct pr_slice rest, in = exact(bad[i].in);
        int rc = parse(in, bad[i].flags, &a, &rest);
        if (rc != bad[i].rc)
            fail_msg("row %zu: %.*s: %s instead of %s", i, PR_SLICE_ARG(bad[i].in), pr_errname(rc),
                     pr_errname(bad[i].rc));
        /* Nothing is set on failure. */
        assert_int_equal(a.kind, 99);
        assert_int_equal(rest.len, 99);
        exact_free(in);
    }
}

/* Which single byte may stand where: against the grammar written down once more, as sets. */
static void every_byte(void **state)
{
    (void)state;
    static const char atext[] = "!#$%&'*+-/=?^_`{|}~";
    for (unsigned c = 0; c < 256; c++) {
        char atom[] = "<a?a@b>", quoted[] = "<\"?\"@b>", pair[] = "<\"\\?\"@b>", domain[] = "<a@b?b>";
        struct mail_address a;
        struct pr_slice rest;
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        atom[2] = quoted[2] = domain[4] = pair[3] = (char)c;
        bool in_atom = alnum || (c != 0 && strchr(atext, (int)c) != NULL) || c == '.' || c == '@';
        /* a@a@b has two unquoted @. */
        assert_int_equal(parse(pr_slice(atom, 7), U, &a, &rest) == 0, in_atom && c != '@');
        assert_int_equal(parse(pr_slice(quoted, 7), U, &a, &rest) == 0, c >= 32 && c < 127 && c != '"' && c != '\\');
        assert_int_equal(parse(pr_slice(pair, 8), U, &a, &rest) == 0, c >= 32 && c < 127);
        /* '>' ends the path early, which leaves the rest to the caller. */
        bool in_domain = alnum || c == '-' || c == '.' || c == '>';
        assert_int_equal(parse(pr_slice(domain, 7), U, &a, &rest) == 0, in_domain);
    }
}

static void domains(void **state)
{
    (void)state;
    static const struct {
        const char *domain;
        bool ascii, utf8, helo;
    } rows[] = {
        {"a", true, true, true},
        {"example.com", true, true, true},
        {"EXAMPLE.com", true, true, true},
        {"3com.com", true, true, true},
        {"a--b.c", true, true, true},
        {L63, true, true, true},
        {DOMAIN_255, true, true, true},
        {DOMAIN_255 ".a", false, false, false},
        {L63 "a", false, false, false},
        {"b\xc3\xbc"
         "cher.de",
         false, true, false},
        {"\xe4\xbe\x8b.example", false, true, false},
        {"b\xc3.de", false, false, false},
        {"", false, false, false},
        {".", false, false, false},
        {"a.", false, false, true},
        {"a..", false, false, false},
        {"a b", false, false, false},
        {"a(b", false, false, false},
        {"_dmarc.example", false, false, true},
        {"my_host", false, false, true},
        {"1.2.3.4", false, false, true},
        {"[1.2.3.4]", false, false, true},
        {"[IPv6:::1]", false, false, true},
        {"[1.2.3]", false, false, false},
        {"-a", false, false, false},
        {"a\r\nb", false, false, false},
        {"localhost", true, true, true},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_slice d = exact(pr_slice_str(rows[i].domain));
        if (mail_domain_valid(d, false) != rows[i].ascii || mail_domain_valid(d, true) != rows[i].utf8 ||
            mail_helo_valid(d) != rows[i].helo)
            fail_msg("%s", rows[i].domain);
        exact_free(d);
    }
}

static void literals(void **state)
{
    (void)state;
    static const char *const valid[] = {
        "[0.0.0.0]",
        "[255.255.255.255]",
        "[192.0.2.1]",
        "[IPv6:1:2:3:4:5:6:7:8]",
        "[IPv6:::]",
        "[IPv6:::1]",
        "[IPv6:1::]",
        "[IPv6:1:2:3:4:5:6:7::]",
        "[IPv6:::2:3:4:5:6:7:8]",
        "[IPv6:fe80::1]",
        "[IPv6:::192.0.2.1]",
        "[IPv6:1:2:3:4:5:6:192.0.2.1]",
        "[IPv6:ABCD::ef01]",
        "[IPV6:::1]",
    };
    static const char *const invalid[] = {
        "",
        "[",
        "]",
        "[]",
        "[ ]",
        "1.2.3.4",
        "[1.2.3.4",
        "1.2.3.4]",
        "[1.2.3]",
        "[1.2.3.4.5]",
        "[256.0.0.1]",
        "[1.2.3.04]",
        "[01.2.3.4]",
        "[1..3.4]",
        "[1.2.3.4.]",
        "[ 1.2.3.4]",
        "[1.2.3.4 ]",
        "[+1.2.3.4]",
        "[0x7f.0.0.1]",
        "[1.2.3.1000]",
        "[::1]",
        "[IPv6:]",
        "[IPv6::]",
        "[IPv6:1]",
        "[IPv6:1:2:3:4:5:6:7]",
        "[IPv6:1:2:3:4:5:6:7:8:9]",
        "[IPv6:1::2::3]",
        "[IPv6::::]",
        "[IPv6:1:2:3:4:5:6:7:8::]",
        "[IPv6:12345::]",
        "[IPv6:g::]",
        "[IPv6:1:2:3:4:5:6:7:192.0.2.1]",
        "[IPv6:192.0.2.1::]",
        "[IPv6:::192.0.2.256]",
        "[IPv6:fe80::1%eth0]",
        "[IPv6:::1",
        "[IPv6 ::1]",
        "[tag:x]",
        "[[1.2.3.4]]",
        "[IPv6:::192.0.2.1:1]",
        "[IPv6:1:]",
        "[IPv6::1]",
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(valid); i++) {
        struct pr_slice s = exact(pr_slice_str(valid[i]));
        if (!mail_literal_valid(s))
            fail_msg("%s", valid[i]);
        exact_free(s);
    }
    for (size_t i = 0; i < PR_ARRAY_LEN(invalid); i++) {
        struct pr_slice s = exact(pr_slice_str(invalid[i]));
        if (mail_literal_valid(s))
            fail_msg("%s", invalid[i]);
        exact_free(s);
    }
}

static void comparison(void **state)
{
    (void)state;
    static const struct {
        const char *domain, *pattern;
        bool eq, match;
    } rows[] = {
        {"example.com", "example.com", true, true},
        {"Example.COM.", "eXample.com", true, true},
        {"example.com", "example.com.", true, true},
        {"example.com..", "example.com", false, false},
        {"sub.example.com", "example.com", false, false},
        {"sub.example.com", ".example.com", false, true},
        {"sub.example.com.", ".EXAMPLE.com.", false, true},
        {"sub.example.com", "*.example.com", false, true},
        {"a.b.example.com", "*.example.com", false, true},
        {"example.com", ".example.com", false, false},
        {"example.com", "*.example.com", false, false},
        {"evilexample.com", ".example.com", false, false},
        {"evilexample.com", "example.com", false, false},
        {"example.com.evil", "example.com", false, false},
        {"[1.2.3.4]", "[1.2.3.4]", true, true},
        {"", "", true, true},
        {"a", "", false, false},
        {"", ".a", false, false},
        {"a", "*", false, false},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_slice d = exact(pr_slice_str(rows[i].domain)), p = exact(pr_slice_str(rows[i].pattern));
        if (mail_domain_eq(d, p) != rows[i].eq || mail_domain_match(d, p) != rows[i].match)
            fail_msg("%s %s", rows[i].domain, rows[i].pattern);
        exact_free(d);
        exact_free(p);
    }
    struct pr_buf b = {0};
    pr_buf_char(&b, 'X');
    mail_domain_normalize(PR_SLICE_LIT("B\xc3\x9c"
                                       "CHER.Example."),
                          &b);
    assert_slice_str(pr_buf_slice(&b), "Xb\xc3\x9c"
                                       "cher.example");
    mail_domain_normalize(pr_slice(NULL, 0), &b);
    assert_int_equal(b.len, 16);
    pr_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts), cmocka_unit_test(refuses),  cmocka_unit_test(every_byte),
        cmocka_unit_test(domains), cmocka_unit_test(literals), cmocka_unit_test(comparison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
