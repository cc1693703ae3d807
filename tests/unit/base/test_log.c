/* Log lines: no text of a peer can forge a line or a field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/log.h"
#include "common/base/rng.h"

struct sink {
    struct pr_log log;
    struct pr_buf text;
};

static void emit(struct pr_log *log, enum pr_log_level level, const char *event, struct pr_slice fields)
{
    struct sink *s = pr_container_of(log, struct sink, log);
    pr_buf_printf(&s->text, "%s %s%.*s\n", pr_log_level_names[level], event, PR_SLICE_ARG(fields));
}

static void lines(void **state)
{
    (void)state;
    struct sink s = {.log = {.level = PR_LOG_INFO, .emit = emit}};
    pr_info(&s.log, "smtp_message", PR_S("id", "A1"), PR_U("size", UINT64_MAX), PR_I("lag", INT64_MIN),
            PR_SL("from", PR_SLICE_LIT("a@b.example")));
    pr_warn(&s.log, "plain");
    pr_debug(&s.log, "below_the_level", PR_S("k", "v"));
    pr_error(&s.log, "null", PR_S("text", NULL), PR_SL("slice", ((struct pr_slice){NULL, 0})));
    pr_info(NULL, "nowhere", PR_S("k", "v"));
    assert_string_equal(pr_buf_cstr(&s.text), "info smtp_message id=A1 size=18446744073709551615 "
                                              "lag=-9223372036854775808 from=a@b.example\n"
                                              "warn plain\n"
                                              "error null text=\"\" slice=\"\"\n");
    pr_buf_fini(&s.text);
}

static void quoting(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice in;
        const char *want;
    } table[] = {
        {PR_SLICE_LIT("plain-1.2:3/<x>"), "plain-1.2:3/<x>"},
        {PR_SLICE_LIT("two words"), "\"two words\""},
        {PR_SLICE_LIT("k=v"), "\"k=v\""},
        {PR_SLICE_LIT("a\"b"), "\"a\\\"b\""},
        {PR_SLICE_LIT("a\\b"), "\"a\\\\b\""},
        {PR_SLICE_LIT("x\r\nerror forged id=1"), "\"x\\u000d\\u000aerror forged id=1\""},
        {PR_SLICE_LIT("a\0b"), "\"a\\u0000b\""},
        {PR_SLICE_LIT("\xff"), "\"\\ufffd\""},
        {PR_SLICE_LIT("\xc3\xa4"), "\"\xc3\xa4\""},
    };
    struct pr_buf b = {0};
    for (size_t i = 0; i < PR_ARRAY_LEN(table); i++) {
        pr_buf_clear(&b);
        pr_log_value(&b, table[i].in);
        assert_string_equal(pr_buf_cstr(&b), table[i].want);
    }
    struct pr_rng rng;
    pr_rng_init(&rng, 8);
    for (int round = 0; round < 5000; round++) {
        char raw[12];
        pr_rng_fill(&rng, raw, sizeof raw);
        pr_buf_clear(&b);
        pr_log_value(&b, pr_slice(raw, sizeof raw));
        bool quoted = b.ptr[0] == '"';
        for (size_t i = 0; i < b.len; i++) {
            assert_false(pr_is_ctl(b.ptr[i]));
            assert_true(quoted || (b.ptr[i] != ' ' && b.ptr[i] != '=' && b.ptr[i] != '"'));
        }
    }
    pr_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(quoting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
