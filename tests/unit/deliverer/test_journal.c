/* The record of a transaction in doubt: round trip, damage, and what is reported after a restart; the files of a directory
 * through the death of a process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "deliverer/shell/journal_file.h"

static struct dlv_journal_record sample(void)
{
    struct dlv_journal_record r = {
        .ref = {.msg_id = 0x0102030405060708, .group = 7, .attempt_id = 0xfedcba9876543210}, .term = 42, .shard = 3, .n_rcpts = 100};
    dlv_journal_mark(r.delivered, 0, true);
    dlv_journal_mark(r.delivered, 99, true);
    dlv_journal_mark(r.doubt, 1, true);
    dlv_journal_mark(r.doubt, 98, true);
    return r;
}

static void test_round_trip(void **state)
{
    uint8_t bytes[DLV_JOURNAL_RECORD];
    struct dlv_journal_record in = sample(), out;
    (void)state;
    dlv_journal_encode(&in, bytes);
    assert_int_equal(dlv_journal_decode(bytes, &out), 0);
    assert_int_equal(out.ref.msg_id, in.ref.msg_id);
    assert_int_equal(out.ref.group, in.ref.group);
    assert_int_equal(out.ref.attempt_id, in.ref.attempt_id);
    assert_int_equal(out.term, in.term);
    assert_int_equal(out.shard, in.shard);
    assert_int_equal(out.n_rcpts, in.n_rcpts);
    assert_memory_equal(out.delivered, in.delivered, sizeof in.delivered);
    assert_memory_equal(out.doubt, in.doubt, sizeof in.doubt);
}

static void test_what_is_reported(void **state)
{
    struct dlv_journal_record r = sample();
    (void)state;
    assert_int_equal(dlv_journal_outcome(&r, 0), MAIL_OUTCOME_DELIVERED);
    assert_int_equal(dlv_journal_outcome(&r, 99), MAIL_OUTCOME_DELIVERED);
    assert_int_equal(dlv_journal_outcome(&r, 1), MAIL_OUTCOME_UNKNOWN);
    assert_int_equal(dlv_journal_outcome(&r, 50), MAIL_OUTCOME_ABORTED);
    /* Delivered by an earlier transaction of the same attempt, whatever came after. */
    dlv_journal_mark(r.doubt, 0, true);
    assert_int_equal(dlv_journal_outcome(&r, 0), MAIL_OUTCOME_DELIVERED);
    dlv_journal_mark(r.delivered, 0, false);
    assert_int_equal(dlv_journal_outcome(&r, 0), MAIL_OUTCOME_UNKNOWN);
}

static void test_damage_is_seen(void **state)
{
    uint8_t good[DLV_JOURNAL_RECORD], bytes[DLV_JOURNAL_RECORD] = {0};
    struct dlv_journal_record r = sample(), out;
    (void)state;
    assert_int_equal(dlv_journal_decode(bytes, &out), PR_ENOTFOUND);
    dlv_journal_encode(&r, good);
    for (size_t i = 0; i < sizeof good; i++) {
        memcpy(bytes, good, sizeof good);
        bytes[i] ^= 0x10;
        assert_int_equal(dlv_journal_decode(bytes, &out), PR_ECORRUPT);
        /* Torn: the rest is still what was there before, nothing. */
        memset(bytes, 0, sizeof bytes);
        memcpy(bytes, good, i);
        int rc = dlv_journal_decode(bytes, &out);
        assert_int_equal(rc, i == 0 ? PR_ENOTFOUND : PR_ECORRUPT);
    }
}

static void test_directory(void **state)
{
    char path[] = "/tmp/dlv-journal-XXXXXX";
    struct dlv_journal_dir dir, second;
    struct dlv_journal_file file;
    struct dlv_journal_record r = sample();
    uint32_t a = DLV_JOURNAL_NO_SLOT, b = DLV_JOURNAL_NO_SLOT, c = DLV_JOURNAL_NO_SLOT;
    (void)state;
    assert_non_null(mkdtemp(path));
    assert_int_equal(dlv_journal_dir_open(path, NULL, &dir), 0);
    assert_int_equal(dir.n, 0);
    /* Nobody else while we live. */
    assert_int_equal(dlv_journal_dir_open(path, NULL, &second), PR_ECONFLICT);
    assert_int_equal(dlv_journal_file_open(&dir, 0x1234, 0, 8, &file), 0);
    dlv_journal_put(&file, &a, &r);
    r.ref.group = 8;
    dlv_journal_put(&file, &b, &r);
    r.ref.group = 9;
    dlv_journal_put(&file, &c, &r);
    dlv_journal_drop(&file, &b);
    assert_int_equal(b, DLV_JOURNAL_NO_SLOT);
    r.ref.group = 10;
    dlv_journal_put(&file, &c, &r); /* in place */
    /* The process dies: nothing is closed in order, the lock goes. */
    (void)close(dir.lock_fd);
    assert_int_equal(dlv_journal_dir_open(path, NULL, &second), 0);
    assert_int_equal(second.n, 2);
    assert_int_equal(second.records[0].ref.group + second.records[1].ref.group, 17);
    dlv_journal_dir_forget(&second);
    dlv_journal_dir_close(&second);
    assert_int_equal(dlv_journal_dir_open(path, NULL, &second), 0);
    assert_int_equal(second.n, 0);
    assert_int_equal(second.n_files, 0);
    dlv_journal_dir_close(&second);
    /* What the dead process would have freed. */
    dlv_journal_file_close(&file);
    dir.lock_fd = -1;
    dlv_journal_dir_close(&dir);
    char command[64];
    assert_true(snprintf(command, sizeof command, "rm -rf %s", path) > 0);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_what_is_reported),
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
