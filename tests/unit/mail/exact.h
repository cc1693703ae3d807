/* exact.h - test inputs in blocks of their own size, so that the sanitizer sees every byte read too far. */
#ifndef TESTS_UNIT_MAIL_EXACT_H
#define TESTS_UNIT_MAIL_EXACT_H

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/slice.h"

/* A copy that the caller frees with exact_free. */
static inline struct pr_slice exact(struct pr_slice s)
{
    return s.len == 0 ? pr_slice(NULL, 0) : pr_slice(pr_memdup(s.ptr, s.len), s.len);
}
static inline void exact_free(struct pr_slice s) { pr_free((void *)(uintptr_t)s.ptr); }

/* Compares slices and prints both when they differ. */
#define assert_slice(got, expected)                                                                                    \
    do {                                                                                                               \
        struct pr_slice got_ = (got), expected_ = (expected);                                                          \
        if (!pr_slice_eq(got_, expected_)) {                                                                           \
            struct pr_buf b_ = {0};                                                                                    \
            pr_buf_json(&b_, got_);                                                                                    \
            pr_buf_str(&b_, " instead of ");                                                                           \
            pr_buf_json(&b_, expected_);                                                                               \
            fail_msg("%s", pr_buf_cstr(&b_));                                                                          \
        }                                                                                                              \
    } while (0)
#define assert_slice_str(got, text) assert_slice(got, pr_slice_str(text))

#endif
