/* Delivery status notifications: the first byte gives kind, RET and flags, the second the reply code; the rest is cut
 * at 0xff into the texts. The message is clean, has the parts it should have, and its fields are ours. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/mail/dot.h"
#include "common/mail/dsn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void require_clean(struct pr_slice s)
{
    struct mail_line_check check;
    for (size_t i = 0; i < s.len; i++) {
        require(s.ptr[i] != '\0');
        require(s.ptr[i] != '\r' || (i + 1 < s.len && s.ptr[i + 1] == '\n'));
        require(s.ptr[i] != '\n' || (i > 0 && s.ptr[i - 1] == '\r'));
    }
    mail_line_check_init(&check);
    mail_line_check(&check, s);
    require(check.line_len == 0 && check.longest_line <= MAIL_LINE_MAX);
}

static size_t count(struct pr_slice s, struct pr_slice what)
{
    size_t n = 0;
    for (size_t at; (at = pr_slice_find_slice(s, what)) != SIZE_MAX; n++)
        s = pr_slice_from(s, at + what.len);
    return n;
}

/* The delimiter stands in front of each part and at the end, nowhere else; one block of fields per recipient. */
static void check_structure(struct pr_slice message, size_t n_rcpts)
{
    struct pr_buf delimiter = {0};
    struct pr_slice rest;
    size_t at = pr_slice_find_slice(message, PR_SLICE_LIT("\r\n\tboundary=\""));
    require(at != SIZE_MAX);
    struct pr_slice boundary = pr_slice_cut(pr_slice_from(message, at + 13), '"', &rest);
    pr_buf_str(&delimiter, "\r\n--");
    pr_buf_add(&delimiter, boundary);
    size_t delimiters = count(message, pr_buf_slice(&delimiter));
    require(delimiters == 3 || delimiters == 4);
    require(count(message, boundary) == delimiters + 1);
    for (size_t part = 0; part < 2; part++) {
        at = pr_slice_find_slice(rest, pr_buf_slice(&delimiter));
        require(at != SIZE_MAX);
        rest = pr_slice_from(rest, at + delimiter.len);
    }
    struct pr_slice status = pr_slice_head(rest, pr_slice_find_slice(rest, pr_buf_slice(&delimiter)));
    require(count(status, PR_SLICE_LIT("\r\nFinal-Recipient: ")) == n_rcpts);
    require(count(status, PR_SLICE_LIT("\r\nAction: ")) == n_rcpts);
    require(count(status, PR_SLICE_LIT("\r\nStatus: ")) == n_rcpts);
    require(count(status, PR_SLICE_LIT("\r\nReporting-MTA: ")) == 1);
    require(count(status, PR_SLICE_LIT("\r\n\r\n")) == 1 + n_rcpts);
    pr_buf_fini(&delimiter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct mail_rcpt r[2] = {{.code = (uint16_t)(400 + data[1])}, {.code = 0}};
    const struct mail_rcpt *rcpts[2] = {&r[0], &r[1]};
    struct mail_envelope e = {.ret = (data[0] & 1) != 0 ? MAIL_RET_FULL : MAIL_RET_HDRS,
                              .smtputf8 = (data[0] & 2) != 0,
                              .arrival = {1795246100000}};
    struct mail_dsn d = {.kind = (data[0] & 4) != 0 ? MAIL_DSN_DELAY : MAIL_DSN_FAILURE,
                         .original = &e,
                         .rcpts = rcpts,
                         .n_rcpts = 1 + ((data[0] >> 3) & 1),
                         .now = {1795246200000},
                         .last_attempt = {1795246190000},
                         .will_retry_until = {1795646190000},
                         .content_complete = true};
    struct pr_slice in = pr_slice(data + 2, size - 2);
    struct pr_slice *texts[] = {&d.content,   &d.header,      &r[0].address, &r[0].diagnostic, &r[0].orcpt,
                                &r[0].remote, &r[0].enhanced, &e.sender,     &e.envid,         &d.reporting_mta,
                                &d.queue_id,  &d.message_id,  &r[1].address, &r[1].diagnostic, &r[1].orcpt};
    struct pr_buf out = {0}, again = {0};
    r[0].status = (data[0] & 16) != 0 ? MAIL_RCPT_EXPIRED : MAIL_RCPT_FAILED;
    for (size_t i = 0; i < PR_ARRAY_LEN(texts); i++)
        *texts[i] = pr_slice_cut(in, (char)0xff, &in);
    mail_dsn_format(&d, &out);
    mail_dsn_format(&d, &again);
    require(pr_slice_eq(pr_buf_slice(&out), pr_buf_slice(&again)));
    require_clean(pr_buf_slice(&out));
    check_structure(pr_buf_slice(&out), d.n_rcpts);
    require(mail_dsn_needs_utf8(&d) || pr_is_ascii(pr_slice_head(pr_buf_slice(&out), 300)));
    pr_buf_fini(&out);
    pr_buf_fini(&again);
    return 0;
}
