/* The message stream: the first byte gives the policy, the second the size of the pieces. Inbound the result does not
 * depend on the pieces; outbound the wire form is clean and what it decodes to is the input with CRLF line ends. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mail/dot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static size_t decode(struct mail_dot_decoder *d, enum mail_dot_policy policy, struct pr_slice in, size_t step,
                     struct pr_buf *out)
{
    size_t at = 0;
    mail_dot_decoder_init(d, policy);
    while (at < in.len && !d->done) {
        struct pr_slice piece = pr_slice_head(pr_slice_from(in, at), step);
        size_t used = mail_dot_decode(d, piece, out);
        require(d->done || used == piece.len);
        at += used;
    }
    return at;
}

static void require_clean(struct pr_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        require(s.ptr[i] != '\0');
        require(s.ptr[i] != '\r' || (i + 1 < s.len && s.ptr[i + 1] == '\n'));
        require(s.ptr[i] != '\n' || (i > 0 && s.ptr[i - 1] == '\r'));
    }
}

static void inbound(enum mail_dot_policy policy, struct pr_slice in, size_t step)
{
    struct mail_dot_decoder whole, pieces;
    struct pr_buf a = {0}, b = {0};
    size_t used = decode(&whole, policy, in, SIZE_MAX, &a);
    require(used == decode(&pieces, policy, in, step, &b));
    require(whole.done == pieces.done && whole.defects == pieces.defects && whole.eight_bit == pieces.eight_bit &&
            whole.longest_line == pieces.longest_line);
    require(pr_slice_eq(pr_buf_slice(&a), pr_buf_slice(&b)));
    require_clean(pr_buf_slice(&a));
    if (whole.done)
        require(used >= 3 && pr_slice_eq_str(pr_slice(in.ptr + used - 3, 3), ".\r\n"));
    pr_buf_fini(&a);
    pr_buf_fini(&b);
}

static void outbound(struct pr_slice in, size_t step)
{
    struct mail_dot_encoder e;
    struct mail_crlf_encoder c;
    struct mail_dot_decoder d;
    struct mail_line_check check;
    struct pr_buf wire = {0}, normal = {0}, back = {0};
    mail_dot_encoder_init(&e);
    mail_crlf_encoder_init(&c);
    mail_line_check_init(&check);
    mail_crlf_encode(&c, in, &normal);
    mail_crlf_finish(&c, &normal);
    for (size_t at = 0; at < in.len; at += step) {
        mail_dot_encode(&e, pr_slice_head(pr_slice_from(in, at), step), &wire);
        mail_line_check(&check, pr_slice_head(pr_slice_from(in, at), step));
    }
    mail_dot_finish(&e, &wire);
    require_clean(pr_buf_slice(&wire));
    require_clean(pr_buf_slice(&normal));
    require(decode(&d, MAIL_DOT_REJECT, pr_buf_slice(&wire), step, &back) == wire.len && d.done);
    require((d.defects & ~(unsigned)MAIL_DOT_LONG_LINE) == 0);
    require(pr_slice_eq(pr_buf_slice(&back), pr_buf_slice(&normal)));
    require(check.longest_line == d.longest_line && check.eight_bit == d.eight_bit);
    pr_buf_fini(&wire);
    pr_buf_fini(&normal);
    pr_buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct pr_slice in = pr_slice(data + 2, size - 2);
    inbound(data[0] % 2 == 0 ? MAIL_DOT_REJECT : MAIL_DOT_NORMALIZE, in, (size_t)1 + data[1]);
    outbound(in, (size_t)1 + data[1]);
    return 0;
}
