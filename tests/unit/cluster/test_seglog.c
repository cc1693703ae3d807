/* The log check tells an incomplete write from damage, for every bit, byte and sector of the end of a log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cluster/seglog_fixture.h"

static struct seglog_scan scan(struct segment_writer *w, bool open)
{
    struct seglog_scan s;
    seglog_scan(&w->crc, pr_buf_slice(&w->file), open, 1, 0, &s);
    return s;
}

/* Three acknowledged batches, then one of three sectors that starts inside a sector. ret_starts: where each begins. */
static void usual_segment(struct segment_writer *w, size_t ret_starts[5])
{
    segment_begin(w);
    for (uint64_t i = 0; i < 4; i++) {
        ret_starts[i] = w->file.len;
        segment_batch(w, 2, 1, 1, 1500, i);
    }
    ret_starts[4] = w->file.len;
    segment_fill(w);
}

static void writer_fini(struct segment_writer *w)
{
    pr_buf_fini(&w->file);
}

static void test_crc(void **state)
{
    (void)state;
    struct seglog_crc c;
    seglog_crc_init(&c);
    /* The CRC of "123456789" for this polynomial, start 0, not inverted. */
    assert_int_equal(seglog_crc32(&c, PR_SLICE_LIT("123456789"), 0), 0x89a1897f);
    /* In pieces and byte by byte. */
    char text[100];
    struct pr_rng rng;
    pr_rng_init(&rng, 1);
    pr_rng_fill(&rng, text, sizeof text);
    uint32_t whole = seglog_crc32(&c, pr_slice(text, sizeof text), 0), step = 0;
    for (size_t i = 0; i < sizeof text; i++)
        step = seglog_crc32(&c, pr_slice(text + i, 1), step);
    assert_int_equal(step, whole);
}

static void test_clean(void **state)
{
    (void)state;
    struct segment_writer w = {0};
    size_t at[5];
    usual_segment(&w, at);
    struct seglog_scan s = scan(&w, true);
    assert_true(s.end == SEGLOG_CLEAN && s.n_entries == 4 && s.last_term == 2 && s.good_bytes == at[4] && !s.blank);
    w.file.len = at[4];
    s = scan(&w, false);
    assert_true(s.end == SEGLOG_CLEAN && s.n_entries == 4);
    s = scan(&w, true); /* truncated while it was being closed */
    assert_int_equal(s.end, SEGLOG_CLEAN);
    memset(w.file.ptr, 0, w.file.len);
    s = scan(&w, true);
    assert_true(s.end == SEGLOG_CLEAN && s.blank);
    w.file.len = 0;
    assert_true(scan(&w, true).blank);
    assert_int_equal(scan(&w, false).end, SEGLOG_DAMAGED);
    writer_fini(&w);
}

static void test_several_entries_and_types(void **state)
{
    (void)state;
    struct segment_writer w = {0};
    segment_begin(&w);
    segment_batch(&w, 1, 1, 3, 0, 0); /* membership */
    segment_batch(&w, 1, 5, 1, 100, 1);
    segment_batch(&w, 3, 1, 2, 0, 0); /* barrier of a later term */
    segment_batch(&w, 3, 40, 1, 10, 6); /* a header of more than one sector */
    struct seglog_scan s = scan(&w, false);
    assert_true(s.end == SEGLOG_CLEAN && s.n_entries == 47 && s.last_term == 3);
    segment_batch(&w, 2, 1, 1, 10, 6); /* a term that goes back */
    s = scan(&w, false);
    assert_true(s.end == SEGLOG_DAMAGED && s.n_entries == 47);
    writer_fini(&w);
}

/* Every bit of the last batch, and of the header and one of each later byte of the one before: never taken for an
 * unfinished write. */
static void test_each_flipped_bit_is_damage(void **state)
{
    (void)state;
    struct segment_writer w = {0};
    size_t at[5];
    usual_segment(&w, at);
    for (size_t i = at[2]; i < at[4]; i++) {
        for (int bit = 0; bit < (i < at[2] + 40 || i >= at[3] ? 8 : 1); bit++) {
            w.file.ptr[i] ^= (char)(1 << bit);
            struct seglog_scan s = scan(&w, true);
            if (s.end != SEGLOG_DAMAGED || s.n_entries != (i < at[3] ? 2 : 3) ||
                s.bad_at != (i < at[3] ? at[2] : at[3]))
                fail_msg("byte %zu bit %d: end %d, %llu entries", i, bit, (int)s.end, (unsigned long long)s.n_entries);
            w.file.ptr[i] ^= (char)(1 << bit);
        }
    }
    writer_fini(&w);
}

/* A cut file keeps its odd size: damage wherever the cut is, except right behind a batch, where closing cuts. */
static void test_each_truncation(void **state)
{
    (void)state;
    struct segment_writer w = {0};
    size_t at[5];
    usual_segment(&w, at);
    for (size_t len = at[2]; len < at[4] + 600; len++) {
        w.file.len = len;
        struct seglog_scan s = scan(&w, true);
        bool at_batch = len == at[2] || len == at[3] || len == at[4];
        if (s.end != (at_batch ? SEGLOG_CLEAN : SEGLOG_DAMAGED))
            fail_msg("cut at %zu: end %d", len, (int)s.end);
        s = scan(&w, false);
        if (s.end != (at_batch ? SEGLOG_CLEAN : SEGLOG_DAMAGED))
            fail_msg("closed, cut at %zu: end %d", len, (int)s.end);
    }
    writer_fini(&w);
}

static void zero(struct segment_writer *w, size_t from, size_t to)
{
    memset(w->file.ptr + from, 0, to - from);
}

/* Each combination of sectors of the last write that did not reach the disk. */
static void test_each_torn_last_write(void **state)
{
    (void)state;
    struct segment_writer w = {0};
    size_t at[5];
    usual_segment(&w, at);
    struct pr_buf whole = {0};
    pr_buf_add(&whole, pr_buf_slice(&w.file));
    size_t first = at[3] / 512, last = (at[4] - 1) / 512, n = last - first + 1;
    assert_true(n >= 3 && n <= 6);
    for (unsigned mask = 1; mask < 1U << n; mask++) {
        memcpy(w.file.ptr, whole.ptr, whole.len);
        for (size_t i = 0; i < n; i++)
            if ((mask & 1U << i) != 0) /* what was in the sector before stays */
                zero(&w, PR_MAX(at[3], (first + i) * 512), PR_MIN(at[4], (first + i + 1) * 512));
        struct seglog_scan s = scan(&w, true);
        bool all = mask == (1U << n) - 1;
        if (s.end != (all ? SEGLOG_CLEAN : SEGLOG_TORN) || s.n_entries != 3 || s.good_bytes != at[3])
            fail_msg("sectors %x of %zu: end %d, %llu entries", mask, n, (int)s.end, (unsigned long long)s.n_entries);
    }
    pr_buf_fini(&whole);
    writer_fini(&w);
}

/* Two batches in one write: nobody was answered for the first when the second was made. */
static void test_torn_write_of_two_batches(void **state)
{
    (void)state;
    struct segment_writer w = {0};
    segment_begin(&w);
    segment_batch(&w, 1, 1, 1, 1500, 0);
    size_t second = w.file.len;
    segment_batch(&w, 1, 1, 1, 1500, 1);
    segment_batch(&w, 1, 1, 1, 1500, 1); /* its mark is below the second's index */
    segment_fill(&w);
    size_t sector = (second / 512 + 1) * 512;
    zero(&w, sector, sector + 512);
    struct seglog_scan s = scan(&w, true);
    assert_true(s.end == SEGLOG_TORN && s.n_entries == 1 && s.bad_at == second);
    writer_fini(&w);
}

/* The same hole, but a later entry was proposed after the second had been acknowledged. */
static void test_hole_in_acknowledged_entries(void **state)
{
    (void)state;
    for (size_t hole = 512; hole <= 4096; hole *= 2) {
        struct segment_writer w = {0};
        size_t starts[12];
        segment_begin(&w);
        for (uint64_t i = 0; i < 12; i++) {
            starts[i] = w.file.len;
            segment_batch(&w, 1, 1, 1, 3000, i);
        }
        segment_fill(&w);
        struct pr_buf whole = {0};
        pr_buf_add(&whole, pr_buf_slice(&w.file));
        for (size_t from = 512; from + hole < starts[10]; from += 512) {
            memcpy(w.file.ptr, whole.ptr, whole.len);
            zero(&w, from, from + hole);
            struct seglog_scan s = scan(&w, true);
            if (s.end != SEGLOG_DAMAGED)
                fail_msg("%zu bytes zeroed at %zu: end %d", hole, from, (int)s.end);
        }
        pr_buf_fini(&whole);
        writer_fini(&w);
    }
}

static void test_swapped_and_missing_batches(void **state)
{
    (void)state;
    struct segment_writer w = {0};
    segment_begin(&w);
    segment_batch(&w, 1, 1, 1, 100, 0);
    segment_batch(&w, 1, 1, 1, 100, 2); /* made after index 2 was acknowledged: it cannot be index 2 */
    segment_fill(&w);
    struct seglog_scan s = scan(&w, true);
    assert_true(s.end == SEGLOG_DAMAGED && s.n_entries == 1);
    assert_non_null(strstr(s.reason, "missing"));
    writer_fini(&w);
}

static void test_garbage_behind_the_end(void **state)
{
    (void)state;
    struct segment_writer w = {0};
    size_t at[5];
    usual_segment(&w, at);
    pr_rng_fill(&w.rng, w.file.ptr + at[4], 2000);
    struct seglog_scan s = scan(&w, true);
    assert_true(s.end == SEGLOG_DAMAGED && s.n_entries == 4);
    memcpy(w.file.ptr, "\2", 1); /* format version */
    assert_int_equal(scan(&w, true).end, SEGLOG_DAMAGED);
    zero(&w, 0, 512); /* the first write's first sector, with later ones present */
    assert_int_equal(scan(&w, true).end, SEGLOG_TORN);
    writer_fini(&w);
}

/* ------------------------------------------------------------------------------------------------------- directory */

struct dir {
    char path[64];
    struct segment_writer w;
};

static int dir_setup(void **state)
{
    struct dir *d = pr_new(struct dir);
    (void)snprintf(d->path, sizeof d->path, "/tmp/seglog-XXXXXX");
    assert_non_null(mkdtemp(d->path));
    *state = d;
    return 0;
}

static int dir_teardown(void **state)
{
    struct dir *d = *state;
    char cmd[96];
    (void)snprintf(cmd, sizeof cmd, "rm -r %s", d->path);
    assert_int_equal(system(cmd), 0);
    pr_buf_fini(&d->w.file);
    pr_free(d);
    return 0;
}

static void save(struct dir *d, const char *name, struct pr_slice content)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", d->path, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(content.ptr, 1, content.len, f), content.len);
    assert_int_equal(fclose(f), 0);
}

static void save_term(struct dir *d, const char *name, uint64_t version, uint64_t term)
{
    struct pr_buf b = {0};
    pr_buf_le64(&b, 1);
    pr_buf_le64(&b, version);
    pr_buf_le64(&b, term);
    pr_buf_le64(&b, 1);
    save(d, name, pr_buf_slice(&b));
    pr_buf_fini(&b);
}

/* n entries of term 1, one batch each, first index as given. */
static void save_segment(struct dir *d, const char *name, uint64_t first, uint64_t n, bool open)
{
    segment_begin(&d->w);
    for (uint64_t i = 0; i < n; i++)
        segment_batch(&d->w, 1, 1, 1, 600, first + i - 1);
    if (open)
        segment_fill(&d->w);
    save(d, name, pr_buf_slice(&d->w.file));
}

static void save_usual(struct dir *d)
{
    save_term(d, "metadata1", 1, 1);
    save_term(d, "metadata2", 2, 2);
    save_segment(d, "0000000000000001-0000000000000004", 1, 4, false);
    save_segment(d, "0000000000000005-0000000000000006", 5, 2, false);
    save_segment(d, "open-1", 7, 3, true);
    save_segment(d, "open-2", 10, 0, true);
    save(d, "open-3", PR_SLICE_LIT(""));
}

static int check(struct dir *d, uint64_t applied, struct seglog_report *r, const char *word)
{
    struct pr_buf err = {0};
    int rv = seglog_check(d->path, applied, r, &err);
    if (rv != 0 && (word == NULL || strstr(pr_buf_cstr(&err), word) == NULL))
        fail_msg("unexpected text: %s", pr_buf_cstr(&err));
    pr_buf_fini(&err);
    return rv;
}

static void test_directory(void **state)
{
    struct dir *d = *state;
    struct seglog_report r;
    assert_int_equal(check(d, 0, &r, NULL), 0);
    assert_true(r.empty);
    save_usual(d);
    /* open-2 holds only the format word: used, nothing in it */
    assert_int_equal(check(d, 9, &r, NULL), 0);
    assert_true(!r.empty && !r.torn && r.first_index == 1 && r.last_index == 9 && r.last_term == 1);
    assert_int_equal(check(d, 10, &r, "end of the log is lost"), PR_ECORRUPT);
    save(d, "snapshot-1-8-123.meta", PR_SLICE_LIT("x"));
    save(d, "corrupt-12-open-1", PR_SLICE_LIT("x"));
    assert_int_equal(check(d, 9, &r, NULL), 0);
    save(d, "snapshot-1-20-124.meta", PR_SLICE_LIT("x"));
    assert_int_equal(check(d, 9, &r, "end of the log is lost"), PR_ECORRUPT);
}

static void test_gaps(void **state)
{
    struct dir *d = *state;
    struct seglog_report r;
    char path[160];
    save_usual(d);
    (void)snprintf(path, sizeof path, "%s/0000000000000005-0000000000000006", d->path);
    assert_int_equal(unlink(path), 0);
    /* Without the second file the open one's entries come too early: their marks tell. */
    assert_int_equal(check(d, 0, &r, "open-1"), PR_ECORRUPT);
    save_segment(d, "0000000000000006-0000000000000007", 6, 2, false);
    assert_int_equal(check(d, 0, &r, "missing between"), PR_ECORRUPT);
    (void)snprintf(path, sizeof path, "%s/0000000000000001-0000000000000004", d->path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(check(d, 0, &r, "missing before this file"), PR_ECORRUPT);
}

static void test_wrong_count(void **state)
{
    struct dir *d = *state;
    struct seglog_report r;
    save_term(d, "metadata1", 1, 1);
    save_segment(d, "0000000000000001-0000000000000004", 1, 3, false);
    assert_int_equal(check(d, 0, &r, "another number of entries"), PR_ECORRUPT);
}

static void test_terms(void **state)
{
    struct dir *d = *state;
    struct seglog_report r;
    save_segment(d, "0000000000000001-0000000000000004", 1, 4, false);
    assert_int_equal(check(d, 0, &r, "metadata1"), PR_ECORRUPT);
    save_term(d, "metadata1", 3, 0);
    assert_int_equal(check(d, 0, &r, "older than the entries"), PR_ECORRUPT);
    save_term(d, "metadata2", 4, 1);
    assert_int_equal(check(d, 0, &r, NULL), 0);
    save(d, "metadata1", PR_SLICE_LIT("half"));
    assert_int_equal(check(d, 0, &r, NULL), 0);
}

static void test_lost_open_segment(void **state)
{
    struct dir *d = *state;
    struct seglog_report r;
    save_usual(d);
    save_segment(d, "open-2", 10, 1, true);
    assert_int_equal(check(d, 0, &r, NULL), 0);
    assert_true(r.last_index == 10);
    segment_begin(&d->w);
    d->w.file.len = 0;
    segment_fill(&d->w);
    save(d, "open-1", pr_buf_slice(&d->w.file));
    assert_int_equal(check(d, 0, &r, "lost its content"), PR_ECORRUPT);
}

static void test_torn_open_segment(void **state)
{
    struct dir *d = *state;
    struct seglog_report r;
    save_usual(d);
    segment_begin(&d->w);
    segment_batch(&d->w, 1, 1, 1, 3000, 6);
    size_t at = d->w.file.len;
    segment_batch(&d->w, 1, 1, 1, 3000, 7);
    segment_fill(&d->w);
    memset(d->w.file.ptr + (at / 512 + 2) * 512, 0, 512);
    save(d, "open-1", pr_buf_slice(&d->w.file));
    char path[160];
    (void)snprintf(path, sizeof path, "%s/open-2", d->path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(check(d, 7, &r, NULL), 0);
    assert_true(r.torn && r.last_index == 7);
    assert_non_null(strstr(pr_buf_cstr(&r.text), "never acknowledged"));
    seglog_report_fini(&r);
    /* It was acknowledged after all: the database has it. */
    assert_int_equal(check(d, 8, &r, "end of the log is lost"), PR_ECORRUPT);
    /* And nothing can follow on an unfinished write. */
    save_segment(d, "open-2", 8, 1, true);
    assert_int_equal(check(d, 7, &r, "later file"), PR_ECORRUPT);
}

static void test_unfinished_bootstrap(void **state)
{
    struct dir *d = *state;
    struct seglog_report r;
    save_term(d, "metadata1", 1, 1);
    assert_int_equal(check(d, 0, &r, NULL), 0);
    assert_true(r.empty);
    save(d, "0000000000000001-0000000000000001", PR_SLICE_LIT("\1\0\0\0\0\0\0\0half"));
    assert_int_equal(check(d, 0, &r, NULL), 0);
    assert_true(r.empty);
    assert_int_equal(seglog_clear(d->path), 0);
    char path[160];
    (void)snprintf(path, sizeof path, "%s/metadata1", d->path);
    assert_int_not_equal(access(path, F_OK), 0);
    /* Once anything was applied it is damage. */
    save(d, "0000000000000001-0000000000000001", PR_SLICE_LIT("\1\0\0\0\0\0\0\0half"));
    assert_int_equal(check(d, 1, &r, "0000000000000001-0000000000000001"), PR_ECORRUPT);
}

#define DIR_CASE(test) cmocka_unit_test_setup_teardown(test, dir_setup, dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_several_entries_and_types),
        cmocka_unit_test(test_each_flipped_bit_is_damage),
        cmocka_unit_test(test_each_truncation),
        cmocka_unit_test(test_each_torn_last_write),
        cmocka_unit_test(test_torn_write_of_two_batches),
        cmocka_unit_test(test_hole_in_acknowledged_entries),
        cmocka_unit_test(test_swapped_and_missing_batches),
        cmocka_unit_test(test_garbage_behind_the_end),
        DIR_CASE(test_directory),
        DIR_CASE(test_gaps),
        DIR_CASE(test_wrong_count),
        DIR_CASE(test_terms),
        DIR_CASE(test_lost_open_segment),
        DIR_CASE(test_torn_open_segment),
        DIR_CASE(test_unfinished_bootstrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
