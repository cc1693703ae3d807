/* Grouping of recipients by routing domain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/arena.h"
#include "common/base/rng.h"
#include "common/mail/envelope.h"
#include "tests/unit/mail/exact.h"

enum {
    NEVER = MAIL_NOTIFY_NEVER,
    SUCCESS = MAIL_NOTIFY_SUCCESS,
    FAILURE = MAIL_NOTIFY_FAILURE,
    DELAY = MAIL_NOTIFY_DELAY
};

struct flat {
    const char *address, *orcpt;
    unsigned notify;
};

/* "domain: address,address; domain: ..." */
static void describe(const struct mail_envelope *e, struct pr_buf *b)
{
    for (size_t i = 0; i < e->n_groups; i++) {
        pr_buf_str(b, i == 0 ? "" : "; ");
        pr_buf_add(b, e->groups[i].domain);
        for (size_t k = 0; k < e->groups[i].n_rcpts; k++) {
            pr_buf_str(b, k == 0 ? ": " : ",");
            pr_buf_add(b, e->groups[i].rcpts[k].address);
        }
    }
}

static void grouping(void **state)
{
    (void)state;
    static const struct {
        struct flat flat[8];
        const char *groups;
    } rows[] = {
        {{{NULL, NULL, 0}}, ""},
        {{{"a@x", "", 0}}, "x: a@x"},
        {{{"a@x", "", 0}, {"b@y", "", 0}, {"c@x", "", 0}}, "x: a@x,c@x; y: b@y"},
        {{{"a@X.Example", "", 0}, {"b@x.example.", "", 0}, {"c@x.EXAMPLE", "", 0}},
         "x.example: a@X.Example,b@x.example.,c@x.EXAMPLE"},
        {{{"Postmaster", "", 0}, {"a@ours.test", "", 0}}, "ours.test: Postmaster,a@ours.test"},
        {{{"\"a@evil\"@x", "", 0}, {"b@evil", "", 0}}, "x: \"a@evil\"@x; evil: b@evil"},
        {{{"a@[192.0.2.1]", "", 0}, {"b@[IPv6:ABCD::1]", "", 0}, {"c@[ipv6:abcd::1]", "", 0}},
         "[192.0.2.1]: a@[192.0.2.1]; [ipv6:abcd::1]: b@[IPv6:ABCD::1],c@[ipv6:abcd::1]"},
        /* Duplicates; the case of the local-part matters, that of the domain does not. */
        {{{"a@x", "", 0}, {"a@x", "", 0}, {"a@X", "", 0}, {"A@x", "", 0}}, "x: a@x,A@x"},
        {{{"a@x", "", 0}, {"a@x", "rfc822;b@y", 0}, {"a@x", "rfc822;b@y", 0}}, "x: a@x,a@x"},
        {{{"postmaster", "", 0}, {"postmaster@Ours.Test", "", 0}}, "ours.test: postmaster"},
        /* What no parser would have let in still goes somewhere. */
        {{{"odd address@x", "", 0}, {"nodomain", "", 0}, {"a b@c d@x", "", 0}},
         "x: odd address@x,a b@c d@x; ours.test: nodomain"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct mail_rcpt rcpts[8];
        struct mail_envelope e = {.n_groups = 99};
        struct pr_arena arena = {0};
        struct pr_buf b = {0};
        size_t n = 0;
        for (; n < 8 && rows[i].flat[n].address != NULL; n++)
            rcpts[n] = (struct mail_rcpt){.address = pr_slice_str(rows[i].flat[n].address),
                                          .orcpt = pr_slice_str(rows[i].flat[n].orcpt)};
        mail_envelope_group(&e, rcpts, n, PR_SLICE_LIT("Ours.Test"), &arena);
        describe(&e, &b);
        assert_slice_str(pr_buf_slice(&b), rows[i].groups);
        pr_buf_fini(&b);
        pr_arena_fini(&arena);
    }
}

/* A recipient named twice is reported when either wanted it. */
static void notify(void **state)
{
    (void)state;
    static const unsigned rows[][3] = {
        {0, 0, 0},
        {NEVER, NEVER, NEVER},
        {NEVER, FAILURE, FAILURE},
        {NEVER, 0, FAILURE | DELAY},
        {0, NEVER, FAILURE | DELAY},
        {SUCCESS, DELAY, SUCCESS | DELAY},
        {0, SUCCESS, SUCCESS | FAILURE | DELAY},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_arena arena = {0};
        struct mail_envelope e;
        struct mail_rcpt r[2] = {{.address = PR_SLICE_LIT("a@x"), .notify = rows[i][0]},
                                 {.address = PR_SLICE_LIT("a@X"), .notify = rows[i][1]}};
        mail_envelope_group(&e, r, 2, PR_SLICE_LIT("d"), &arena);
        assert_int_equal(e.n_groups, 1);
        assert_int_equal(e.groups[0].n_rcpts, 1);
        assert_int_equal(e.groups[0].rcpts[0].notify, rows[i][2]);
        pr_arena_fini(&arena);
    }
}

/* Many recipients: nobody lost, none twice, groups full but the last of a domain, order kept. */
static void many(void **state)
{
    (void)state;
    enum { N = 1000 };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        static const char *const domains[] = {"a.test", "b.test", "C.test", "d"};
        struct pr_rng rng;
        struct pr_arena arena = {0};
        struct mail_envelope e;
        struct mail_rcpt rcpts[N];
        pr_rng_init(&rng, seed);
        for (size_t i = 0; i < N; i++) {
            struct pr_buf b = {0};
            pr_buf_printf(&b, "%04zu@%s", i, domains[pr_rng_below(&rng, 1 + seed % 4)]);
            rcpts[i] = (struct mail_rcpt){.address = pr_arena_dup(&arena, pr_buf_slice(&b)), .code = (uint16_t)i};
            pr_buf_fini(&b);
        }
        mail_envelope_group(&e, rcpts, N, PR_SLICE_LIT("x"), &arena);
        bool seen[N] = {false};
        size_t total = 0, partial = 0;
        for (size_t g = 0; g < e.n_groups; g++) {
            assert_in_range(e.groups[g].n_rcpts, 1, MAIL_GROUP_RCPTS_MAX);
            partial += e.groups[g].n_rcpts < MAIL_GROUP_RCPTS_MAX;
            for (size_t k = 0; k < e.groups[g].n_rcpts; k++) {
                const struct mail_rcpt *r = &e.groups[g].rcpts[k];
                assert_false(seen[r->code]);
                seen[r->code] = true;
                assert_true(k == 0 || e.groups[g].rcpts[k - 1].code < r->code);
                total++;
            }
        }
        assert_int_equal(total, N);
        assert_true(partial <= 4);
        pr_arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(grouping), cmocka_unit_test(notify), cmocka_unit_test(many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
