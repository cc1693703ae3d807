/* Headers: the first byte gives the size of the pieces. The scan does not depend on it, and a Received field made of
 * the input is one field. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void scan(struct mail_header_scan *s, struct pr_slice in, size_t step)
{
    mail_header_scan_init(s);
    for (size_t at = 0; at < in.len; at += PR_MIN(step, in.len - at))
        mail_header_scan(s, pr_slice_head(pr_slice_from(in, at), step));
}

static void check_scan(struct pr_slice in, size_t step)
{
    struct mail_header_scan whole, pieces;
    scan(&whole, in, SIZE_MAX);
    scan(&pieces, in, step);
    require(whole.received == pieces.received && whole.seen == pieces.seen && whole.done == pieces.done &&
            whole.header_bytes == pieces.header_bytes && whole.longest_field == pieces.longest_field);
    require(whole.header_bytes <= in.len && whole.longest_field <= whole.header_bytes);
    require(whole.done || whole.header_bytes == in.len);
    require(!whole.done || in.ptr[whole.header_bytes - 1] == '\n');
}

/* Cuts the input at 0xff into the values. */
static void check_received(struct pr_slice in)
{
    struct mail_received r = {.date = {in.len}};
    struct mail_header_scan s;
    struct pr_buf b = {0};
    struct pr_slice *values[] = {&r.helo, &r.client_name, &r.client_address, &r.by, &r.with, &r.tls, &r.id, &r.for_};
    for (size_t i = 0; i < PR_ARRAY_LEN(values); i++)
        *values[i] = pr_slice_cut(in, (char)0xff, &in);
    mail_received_format(&r, &b);
    size_t field = b.len, start = 0;
    pr_buf_str(&b, "\r\n");
    for (size_t i = 0; i < b.len; i++) {
        require(!pr_is_ctl(b.ptr[i]) || b.ptr[i] == '\r' || b.ptr[i] == '\n' || b.ptr[i] == '\t');
        require(i + 1 - start <= 1000);
        if (b.ptr[i] == '\n')
            start = i + 1;
    }
    scan(&s, pr_buf_slice(&b), 3);
    require(s.done && s.received == 1 && s.seen == 0 && s.longest_field == field && s.header_bytes == b.len);
    pr_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct pr_slice in = pr_slice(data + 1, size - 1);
    check_scan(in, (size_t)1 + data[0]);
    check_received(in);
    return 0;
}
