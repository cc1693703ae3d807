/* The message stream: what ends data and what does not, both policies, both encoders; against tables, a model written
 * another way, and the round trip. Everything runs whole and in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/base/rng.h"
#include "common/mail/dot.h"
#include "tests/unit/mail/exact.h"

#define BYTES(s)                                                                                                       \
    {                                                                                                                  \
        (s), sizeof(s) - 1                                                                                             \
    }
#define SMUGGLED "MAIL FROM:<x@evil.test>\r\nRCPT TO:<y@ours.test>\r\nDATA\r\nspam"

struct decoded {
    struct pr_buf out;
    struct mail_dot_decoder d;
    size_t used;
};

static struct decoded decode(struct pr_slice in, enum mail_dot_policy policy, size_t step)
{
    struct decoded r = {.used = 0};
    mail_dot_decoder_init(&r.d, policy);
    while (r.used < in.len && !r.d.done) {
        struct pr_slice piece = exact(pr_slice_head(pr_slice_from(in, r.used), step));
        size_t used = mail_dot_decode(&r.d, piece, &r.out);
        assert_true(r.d.done || used == piece.len);
        r.used += used;
        exact_free(piece);
    }
    return r;
}

static const struct {
    struct pr_slice in;
    const char *out;    /* both policies when there is no defect, normalised otherwise */
    const char *reject; /* what was appended before the first defect, NULL: as out */
    unsigned defects;
    size_t rest; /* octets of `in` behind the end; SIZE_MAX: not ended */
} rows[] = {
    /* Genuine. */
    {BYTES(".\r\n"), "", NULL, 0, 0},
    {BYTES("\r\n.\r\n"), "\r\n", NULL, 0, 0},
    {BYTES("a\r\n.\r\n"), "a\r\n", NULL, 0, 0},
    {BYTES("a\r\n.\r\nQUIT\r\n"), "a\r\n", NULL, 0, 6},
    {BYTES(".\r\n.\r\n"), "", NULL, 0, 3},
    {BYTES("a\r\n..\r\n.\r\n"), "a\r\n.\r\n", NULL, 0, 0},
    {BYTES("..\r\n.\r\n"), ".\r\n", NULL, 0, 0},
    {BYTES(".a\r\n...b\r\n.\r\n"), "a\r\n..b\r\n", NULL, 0, 0},
    {BYTES("a.\r\n.\r\n"), "a.\r\n", NULL, 0, 0},
    {BYTES("a. \r\n. \r\n.\r\n"), "a. \r\n \r\n", NULL, 0, 0},
    {BYTES("a\r\n.\t\r\n.\r\n"), "a\r\n\t\r\n", NULL, 0, 0},
    /* Not ended. */
    {BYTES(""), "", NULL, 0, SIZE_MAX},
    {BYTES("."), "", NULL, 0, SIZE_MAX},
    {BYTES(".\r"), "", NULL, 0, SIZE_MAX},
    {BYTES("a\r\n."), "a\r\n", NULL, 0, SIZE_MAX},
    {BYTES("a\r\n.\r"), "a\r\n", NULL, 0, SIZE_MAX},
    {BYTES("a\r"), "a", NULL, 0, SIZE_MAX},
    {BYTES("a.\r\n"), "a.\r\n", NULL, 0, SIZE_MAX},
    /* Smuggling: each of these looks like the end to somebody, and is none. */
    {BYTES("a\n.\n" SMUGGLED "\r\n.\r\n"), "a\r\n.\r\n" SMUGGLED "\r\n", "a", MAIL_DOT_BARE_LF, 0},
    {BYTES("a\n.\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n.\r\n" SMUGGLED "\r\n", "a", MAIL_DOT_BARE_LF, 0},
    {BYTES("a\r\n.\n" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n" SMUGGLED "\r\n", "a\r\n", MAIL_DOT_BARE_LF, 0},
    {BYTES("a\r\n.\r" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n" SMUGGLED "\r\n", "a\r\n", MAIL_DOT_BARE_CR, 0},
    {BYTES("a\r.\r" SMUGGLED "\r\n.\r\n"), "a\r\n.\r\n" SMUGGLED "\r\n", "a", MAIL_DOT_BARE_CR, 0},
    {BYTES("a\r.\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n.\r\n" SMUGGLED "\r\n", "a", MAIL_DOT_BARE_CR, 0},
    {BYTES("a\r.\n" SMUGGLED "\r\n.\r\n"), "a\r\n.\r\n" SMUGGLED "\r\n", "a", MAIL_DOT_BARE_CR | MAIL_DOT_BARE_LF, 0},
    {BYTES("a\n.\r" SMUGGLED "\r\n.\r\n"), "a\r\n.\r\n" SMUGGLED "\r\n", "a", MAIL_DOT_BARE_CR | MAIL_DOT_BARE_LF, 0},
    {BYTES("a\r\r\n.\r" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n\r\n" SMUGGLED "\r\n", "a", MAIL_DOT_BARE_CR, 0},
    {BYTES("a\r\n.\r\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n\r\n" SMUGGLED "\r\n", "a\r\n", MAIL_DOT_BARE_CR, 0},
    {BYTES("a\n\n.\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n.\r\n" SMUGGLED "\r\n", "a", MAIL_DOT_BARE_LF, 0},
    {BYTES("a\n\r.\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n.\r\n" SMUGGLED "\r\n", "a",
     MAIL_DOT_BARE_LF | MAIL_DOT_BARE_CR, 0},
    {BYTES("a\r\n.\n\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n\r\n" SMUGGLED "\r\n", "a\r\n", MAIL_DOT_BARE_LF, 0},
    {BYTES("a\r\n.\n\r" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n\r\n" SMUGGLED "\r\n", "a\r\n",
     MAIL_DOT_BARE_LF | MAIL_DOT_BARE_CR, 0},
    {BYTES("a\r\n\0.\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n.\r\n" SMUGGLED "\r\n", "a\r\n", MAIL_DOT_NUL, 0},
    {BYTES("a\r\n.\0\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n" SMUGGLED "\r\n", "a\r\n", MAIL_DOT_NUL, 0},
    {BYTES("a\r\0\n.\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n.\r\n" SMUGGLED "\r\n", "a",
     MAIL_DOT_NUL | MAIL_DOT_BARE_CR | MAIL_DOT_BARE_LF, 0},
    {BYTES("a\r\n.\r\0\n" SMUGGLED "\r\n.\r\n"), "a\r\n\r\n\r\n" SMUGGLED "\r\n", "a\r\n",
     MAIL_DOT_NUL | MAIL_DOT_BARE_CR | MAIL_DOT_BARE_LF, 0},
    {BYTES("a\r\n. \r\n" SMUGGLED "\r\n.\r\n"), "a\r\n \r\n" SMUGGLED "\r\n", NULL, 0, 0},
    {BYTES("a\r\n..\r\n" SMUGGLED "\r\n.\r\n"), "a\r\n.\r\n" SMUGGLED "\r\n", NULL, 0, 0},
    {BYTES("a\x85.\x85" SMUGGLED "\r\n.\r\n"), "a\x85.\x85" SMUGGLED "\r\n", NULL, 0, 0},
    {BYTES("a\x0b.\x0c" SMUGGLED "\r\n.\r\n"), "a\x0b.\x0c" SMUGGLED "\r\n", NULL, 0, 0},
    {BYTES("a\xe2\x80\xa8.\xe2\x80\xa8" SMUGGLED "\r\n.\r\n"), "a\xe2\x80\xa8.\xe2\x80\xa8" SMUGGLED "\r\n", NULL, 0,
     0},
    {BYTES("\n.\r\n" SMUGGLED "\r\n.\r\n"), "\r\n.\r\n" SMUGGLED "\r\n", "", MAIL_DOT_BARE_LF, 0},
    {BYTES("\r.\r\n" SMUGGLED "\r\n.\r\n"), "\r\n.\r\n" SMUGGLED "\r\n", "", MAIL_DOT_BARE_CR, 0},
    {BYTES(".\n" SMUGGLED "\r\n.\r\n"), "\r\n" SMUGGLED "\r\n", "", MAIL_DOT_BARE_LF, 0},
    {BYTES(".\r" SMUGGLED "\r\n.\r\n"), "\r\n" SMUGGLED "\r\n", "", MAIL_DOT_BARE_CR, 0},
    {BYTES("\0.\r\n" SMUGGLED "\r\n.\r\n"), ".\r\n" SMUGGLED "\r\n", "", MAIL_DOT_NUL, 0},
    /* A genuine end stays genuine whatever stands beside it. */
    {BYTES("a\n\r\n.\r\nX"), "a\r\n\r\n", "a", MAIL_DOT_BARE_LF, 1},
    {BYTES("a\r\r\n.\r\nX"), "a\r\n\r\n", "a", MAIL_DOT_BARE_CR, 1},
    {BYTES("a\0\r\n.\r\n\n"), "a\r\n", "a", MAIL_DOT_NUL, 1},
    {BYTES("a\r\n.\r\n.\r\n"), "a\r\n", NULL, 0, 3},
    {BYTES("a\r\n.\r\n\n.\n"), "a\r\n", NULL, 0, 3},
    /* Unstuffing only after a genuine line end. */
    {BYTES("a\n..b\r\n.\r\n"), "a\r\n..b\r\n", "a", MAIL_DOT_BARE_LF, 0},
    {BYTES("a\r..b\r\n.\r\n"), "a\r\n..b\r\n", "a", MAIL_DOT_BARE_CR, 0},
    {BYTES("a\r\n..b\n..c\r\n..d\r\n.\r\n"), "a\r\n.b\r\n..c\r\n.d\r\n", "a\r\n.b", MAIL_DOT_BARE_LF, 0},
};

static void table(void **state)
{
    (void)state;
    static const size_t steps[] = {SIZE_MAX, 1, 2, 3, 5, 7, 16};
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        for (size_t k = 0; k < 2 * PR_ARRAY_LEN(steps); k++) {
            enum mail_dot_policy policy = k % 2 == 0 ? MAIL_DOT_REJECT : MAIL_DOT_NORMALIZE;
            struct decoded r = decode(rows[i].in, policy, steps[k / 2]);
            const char *out = policy == MAIL_DOT_REJECT && rows[i].reject != NULL ? rows[i].reject : rows[i].out;
            if (r.d.done != (rows[i].rest != SIZE_MAX) || (r.d.done && rows[i].in.len - r.used != rows[i].rest) ||
                r.d.defects != rows[i].defects)
                fail_msg("row %zu by %zu: done %d, %zu left, defects %u", i, steps[k / 2], r.d.done,
                         rows[i].in.len - r.used, r.d.defects);
            assert_slice_str(pr_buf_slice(&r.out), out);
            pr_buf_fini(&r.out);
        }
    }
}

/* The same rules by searching instead of stepping. */
struct model {
    bool done;
    size_t used;
    unsigned defects;
    struct pr_buf out; /* normalised */
};

static struct model model(struct pr_slice in)
{
    struct model m = {.done = false, .used = in.len};
    size_t end = in.len, at = pr_slice_find_slice(in, PR_SLICE_LIT("\r\n.\r\n"));
    if (pr_slice_starts(in, PR_SLICE_LIT(".\r\n"))) {
        m = (struct model){.done = true, .used = 3};
        return m;
    }
    if (at != SIZE_MAX) {
        m.done = true;
        m.used = at + 5;
        end = at + 2;
    }
    for (size_t i = 0; i < end; i++) {
        char c = in.ptr[i];
        bool after_crlf = i == 0 || (i >= 2 && in.ptr[i - 1] == '\n' && in.ptr[i - 2] == '\r');
        if (c == '.' && after_crlf)
            continue;
        if (c == '\r' && i + 1 < in.len && in.ptr[i + 1] == '\n') {
            pr_buf_str(&m.out, "\r\n");
            i++;
        } else if (c == '\r' && i + 1 == in.len) {
            break; /* undecided */
        } else if (c == '\r' || c == '\n') {
            m.defects |= c == '\r' ? MAIL_DOT_BARE_CR : MAIL_DOT_BARE_LF;
            pr_buf_str(&m.out, "\r\n");
        } else if (c == '\0') {
            m.defects |= MAIL_DOT_NUL;
        } else {
            pr_buf_char(&m.out, c);
        }
    }
    return m;
}

static void compare_with_model(struct pr_slice in, const char *what)
{
    struct model m = model(in);
    for (size_t step = 1; step < 20; step = step < 4 ? step + 1 : step * 4) {
        struct decoded n = decode(in, MAIL_DOT_NORMALIZE, step), r = decode(in, MAIL_DOT_REJECT, step);
        bool same = n.d.done == m.done && n.used == m.used && n.d.defects == m.defects && r.d.done == m.done &&
                    r.used == m.used && r.d.defects == m.defects;
        same = same && pr_slice_eq(pr_buf_slice(&n.out), pr_buf_slice(&m.out));
        same = same && (m.defects != 0 || pr_slice_eq(pr_buf_slice(&r.out), pr_buf_slice(&m.out)));
        same = same && pr_slice_starts(pr_buf_slice(&m.out), pr_buf_slice(&r.out));
        if (!same) {
            struct pr_buf b = {0};
            pr_buf_json(&b, in);
            fail_msg("%s, by %zu: %s", what, step, pr_buf_cstr(&b));
        }
        pr_buf_fini(&n.out);
        pr_buf_fini(&r.out);
    }
    pr_buf_fini(&m.out);
}

/* Every string of up to seven octets over the five that matter. */
static void exhaustive(void **state)
{
    (void)state;
    static const char alphabet[] = {'\r', '\n', '.', '\0', 'a'};
    for (size_t len = 0; len <= 7; len++) {
        size_t count = 1;
        for (size_t i = 0; i < len; i++)
            count *= sizeof alphabet;
        for (size_t n = 0; n < count; n++) {
            char text[8];
            size_t v = n;
            for (size_t i = 0; i < len; i++, v /= sizeof alphabet)
                text[i] = alphabet[v % sizeof alphabet];
            compare_with_model(pr_slice(text, len), "exhaustive");
        }
    }
}

static void add_random(struct pr_rng *rng, struct pr_buf *b, uint64_t pieces)
{
    for (; pieces > 0; pieces--) {
        switch (pr_rng_below(rng, 9)) {
        case 0:
            pr_buf_str(b, "\r\n");
            break;
        case 1:
            pr_buf_str(b, "\r\n.");
            break;
        case 2:
            pr_buf_str(b, pr_rng_below(rng, 2) == 0 ? "\r" : "\n");
            break;
        case 3:
            pr_buf_str(b, pr_rng_below(rng, 4) == 0 ? "\r\n.\r\n" : ".");
            break;
        case 4:
            pr_buf_char(b, '\0');
            break;
        default:
            for (uint64_t n = pr_rng_below(rng, 60); n > 0; n--)
                pr_buf_char(b, (char)(pr_rng_below(rng, 8) == 0 ? pr_rng_below(rng, 256) : 'a' + n % 26));
        }
    }
}

static void random_against_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct pr_rng rng;
        struct pr_buf b = {0};
        char what[32];
        pr_rng_init(&rng, seed);
        add_random(&rng, &b, pr_rng_below(&rng, 12));
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        compare_with_model(pr_buf_slice(&b), what);
        pr_buf_fini(&b);
    }
}

static void lines_and_eight_bit(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        bool defect;
    } line_rows[] = {{0, false}, {1, false}, {997, false}, {998, false}, {999, true}, {5000, true}};
    for (size_t i = 0; i < PR_ARRAY_LEN(line_rows); i++) {
        for (size_t step = 1; step < 2000; step = step * 6 + 1) {
            struct pr_buf in = {0};
            pr_buf_str(&in, "short\r\n..");
            for (size_t k = 1; k < line_rows[i].len; k++)
                pr_buf_char(&in, 'x');
            pr_buf_str(&in, "\r\nlast\r\n.\r\n");
            struct decoded r = decode(pr_buf_slice(&in), MAIL_DOT_REJECT, step);
            assert_true(r.d.done);
            /* The dot that was doubled counts once. */
            assert_int_equal(r.d.longest_line, PR_MAX(line_rows[i].len, (size_t)5));
            assert_int_equal(r.d.defects, line_rows[i].defect ? MAIL_DOT_LONG_LINE : 0);
            assert_false(r.d.eight_bit);
            /* A long line is noted, and still there for a caller who takes it. */
            assert_true(r.out.len >= line_rows[i].len);
            struct mail_line_check c;
            mail_line_check_init(&c);
            for (size_t at = 0; at < r.out.len; at += step)
                mail_line_check(&c, pr_slice_head(pr_slice_from(pr_buf_slice(&r.out), at), step));
            assert_int_equal(c.longest_line, r.d.longest_line);
            pr_buf_fini(&r.out);
            pr_buf_fini(&in);
        }
    }
    struct decoded r =
        decode(PR_SLICE_LIT("plain text of more than sixteen octets\r\n.\r\n\xff"), MAIL_DOT_REJECT, SIZE_MAX);
    assert_false(r.d.eight_bit);
    pr_buf_fini(&r.out);
    /* In each position of a block, and just behind the stop. */
    for (size_t at = 0; at < 40; at++) {
        char text[64];
        memset(text, 'a', sizeof text);
        text[at] = (char)0x80;
        memcpy(text + 59, "\r\n.\r\n", 5);
        r = decode(pr_slice(text, sizeof text), MAIL_DOT_REJECT, SIZE_MAX);
        assert_true(r.d.eight_bit && r.d.done);
        pr_buf_fini(&r.out);
        memcpy(text + 16, "\r\n.\r\n", 5);
        r = decode(pr_slice(text, sizeof text), MAIL_DOT_REJECT, SIZE_MAX);
        assert_int_equal(r.d.eight_bit, at < 16);
        pr_buf_fini(&r.out);
    }
}

static struct pr_buf encode(struct pr_slice in, bool dots, size_t step)
{
    struct pr_buf out = {0};
    struct mail_dot_encoder e;
    struct mail_crlf_encoder c;
    mail_dot_encoder_init(&e);
    mail_crlf_encoder_init(&c);
    for (size_t at = 0; at < in.len;) {
        struct pr_slice piece = exact(pr_slice_head(pr_slice_from(in, at), step));
        if (dots)
            mail_dot_encode(&e, piece, &out);
        else
            mail_crlf_encode(&c, piece, &out);
        at += piece.len;
        exact_free(piece);
    }
    if (dots)
        mail_dot_finish(&e, &out);
    else
        mail_crlf_finish(&c, &out);
    return out;
}

static void encoders(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice in;
        const char *dots, *crlf;
    } encoder_rows[] = {
        {BYTES(""), ".\r\n", ""},
        {BYTES("a"), "a\r\n.\r\n", "a\r\n"},
        {BYTES("a\r\n"), "a\r\n.\r\n", "a\r\n"},
        {BYTES("\r\n"), "\r\n.\r\n", "\r\n"},
        {BYTES("."), "..\r\n.\r\n", ".\r\n"},
        {BYTES(".\r\n"), "..\r\n.\r\n", ".\r\n"},
        {BYTES("a\r\n.\r\nQUIT\r\n"), "a\r\n..\r\nQUIT\r\n.\r\n", "a\r\n.\r\nQUIT\r\n"},
        {BYTES("a\n.\nQUIT\n"), "a\r\n..\r\nQUIT\r\n.\r\n", "a\r\n.\r\nQUIT\r\n"},
        {BYTES("a\r.\rQUIT\r"), "a\r\n..\r\nQUIT\r\n.\r\n", "a\r\n.\r\nQUIT\r\n"},
        {BYTES("a\r\n\0.\r\nQUIT"), "a\r\n..\r\nQUIT\r\n.\r\n", "a\r\n.\r\nQUIT\r\n"},
        {BYTES("a\r\n.\0\r\n"), "a\r\n..\r\n.\r\n", "a\r\n.\r\n"},
        {BYTES("a\r\0\n"), "a\r\n\r\n.\r\n", "a\r\n\r\n"},
        {BYTES("a\r\r\n.\r\n"), "a\r\n\r\n..\r\n.\r\n", "a\r\n\r\n.\r\n"},
        {BYTES("\0"), ".\r\n", ""},
        {BYTES("a\0"), "a\r\n.\r\n", "a\r\n"},
        {BYTES("a\0b\0\0c"), "abc\r\n.\r\n", "abc\r\n"},
        {BYTES("..a\r\nb.\r\n"), "...a\r\nb.\r\n.\r\n", "..a\r\nb.\r\n"},
        {BYTES("\x80\xff.\r\n"), "\x80\xff.\r\n.\r\n", "\x80\xff.\r\n"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(encoder_rows); i++) {
        for (size_t step = 1; step <= 5; step++) {
            struct pr_buf dots = encode(encoder_rows[i].in, true, step), crlf = encode(encoder_rows[i].in, false, step);
            assert_slice_str(pr_buf_slice(&dots), encoder_rows[i].dots);
            assert_slice_str(pr_buf_slice(&crlf), encoder_rows[i].crlf);
            pr_buf_fini(&dots);
            pr_buf_fini(&crlf);
        }
    }
}

/* What every receiver may rely on, whatever went in. */
static void check_wire(struct pr_slice wire, uint64_t seed)
{
    size_t end = pr_slice_find_slice(wire, PR_SLICE_LIT("\r\n.\r\n"));
    bool ok = pr_slice_eq_str(wire, ".\r\n") || end + 5 == wire.len;
    for (size_t i = 0; i < wire.len; i++) {
        ok = ok && wire.ptr[i] != '\0';
        ok = ok && (wire.ptr[i] != '\r' || (i + 1 < wire.len && wire.ptr[i + 1] == '\n'));
        ok = ok && (wire.ptr[i] != '\n' || (i > 0 && wire.ptr[i - 1] == '\r'));
        if (wire.ptr[i] == '.' && (i == 0 || wire.ptr[i - 1] == '\n') && i + 3 != wire.len)
            ok = ok && wire.ptr[i + 1] == '.';
    }
    if (!ok)
        fail_msg("seed %llu", (unsigned long long)seed);
}

/* unstuff(stuff(x)) is x with its line ends made CRLF, which is what the other encoder makes; for x that has them, x.
 */
static void round_trip(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct pr_rng rng;
        struct pr_buf in = {0};
        pr_rng_init(&rng, seed);
        add_random(&rng, &in, pr_rng_below(&rng, 20));
        size_t step = seed % 3 == 0 ? SIZE_MAX : (size_t)(1 + seed % 17);
        struct pr_buf wire = encode(pr_buf_slice(&in), true, step), normal = encode(pr_buf_slice(&in), false, step);
        check_wire(pr_buf_slice(&wire), seed);
        struct decoded r = decode(pr_buf_slice(&wire), MAIL_DOT_REJECT, step);
        assert_true(r.d.done && (r.d.defects & ~(unsigned)MAIL_DOT_LONG_LINE) == 0 && r.used == wire.len);
        assert_slice(pr_buf_slice(&r.out), pr_buf_slice(&normal));
        struct pr_buf again = encode(pr_buf_slice(&normal), false, SIZE_MAX);
        assert_slice(pr_buf_slice(&again), pr_buf_slice(&normal));
        pr_buf_fini(&again);
        pr_buf_fini(&r.out);
        pr_buf_fini(&wire);
        pr_buf_fini(&normal);
        pr_buf_fini(&in);
    }
}

/* All 256 values, each at the start, inside and at the end of a line, pass through both ways unchanged. */
static void all_bytes(void **state)
{
    (void)state;
    struct pr_buf in = {0};
    for (unsigned c = 1; c < 256; c++) {
        if (c == '\r' || c == '\n')
            continue;
        pr_buf_char(&in, (char)c);
        pr_buf_str(&in, "middle");
        pr_buf_char(&in, (char)c);
        pr_buf_str(&in, "end");
        pr_buf_char(&in, (char)c);
        pr_buf_str(&in, "\r\n");
        pr_buf_char(&in, (char)c);
        pr_buf_str(&in, "\r\n\r\n");
    }
    for (size_t step = 1; step < 5000; step *= 3) {
        struct pr_buf wire = encode(pr_buf_slice(&in), true, step);
        struct decoded r = decode(pr_buf_slice(&wire), MAIL_DOT_REJECT, step);
        assert_true(r.d.done && r.d.defects == 0 && r.d.eight_bit);
        assert_slice(pr_buf_slice(&r.out), pr_buf_slice(&in));
        pr_buf_fini(&r.out);
        pr_buf_fini(&wire);
    }
    pr_buf_fini(&in);
}

static void line_check(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice in;
        size_t longest;
        bool eight_bit;
    } check_rows[] = {
        {BYTES(""), 0, false},
        {BYTES("abc"), 3, false},
        {BYTES("abc\r\nde\r\n"), 3, false},
        {BYTES("ab\ncde\rfghi"), 4, false},
        {BYTES("ab\0cd\r\n"), 4, false},
        {BYTES("..\r\n"), 2, false},
        {BYTES("a\xc3\xbc\r\n"), 3, true},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(check_rows); i++) {
        for (size_t step = 1; step < 6; step++) {
            struct mail_line_check c;
            mail_line_check_init(&c);
            for (size_t at = 0; at < check_rows[i].in.len; at += step)
                mail_line_check(&c, pr_slice_head(pr_slice_from(check_rows[i].in, at), step));
            assert_int_equal(c.longest_line, check_rows[i].longest);
            assert_int_equal(c.eight_bit, check_rows[i].eight_bit);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),     cmocka_unit_test(exhaustive), cmocka_unit_test(random_against_model),
        cmocka_unit_test(encoders),  cmocka_unit_test(round_trip), cmocka_unit_test(lines_and_eight_bit),
        cmocka_unit_test(all_bytes), cmocka_unit_test(line_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
