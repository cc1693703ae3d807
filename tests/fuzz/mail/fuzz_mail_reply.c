/* A peer's replies: the first byte gives the size of the pieces. The result does not depend on it; nothing passes a
 * limit; no control byte comes through. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mail/classify.h"
#include "common/mail/reply.h"
#include "common/mail/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

/* One reply from the front of `in`; returns its length, SIZE_MAX after an error. */
static size_t read_one(struct mail_reply_parser *p, struct pr_slice in, size_t step, int *ret_rc)
{
    size_t at = 0;
    int rc = 0;
    while (rc == 0 && !p->done && at < in.len) {
        size_t used;
        struct pr_slice piece = pr_slice_head(pr_slice_from(in, at), step);
        rc = mail_reply_parse(p, piece, &used);
        require(used <= piece.len && (rc != 0 || p->done || used == piece.len));
        at += used;
    }
    *ret_rc = rc;
    return rc == 0 ? at : SIZE_MAX;
}

static void check_reply(const struct mail_reply_parser *p)
{
    struct pr_slice text = pr_buf_slice(&p->text);
    require(p->code >= 200 && p->code <= 599 && p->lines >= 1 && p->lines <= MAIL_REPLY_LINES_MAX);
    require(text.len <= MAIL_REPLY_TEXT_MAX);
    for (bool more = true; more;) {
        struct pr_slice rest;
        struct pr_slice line = pr_slice_cut(text, '\n', &rest);
        require(mail_text_valid(line));
        more = line.len < text.len;
        text = rest;
    }
    size_t n = mail_enhanced_status(p->code, pr_buf_slice(&p->text));
    require(n == 0 || (n >= 5 && n <= 9));
    for (unsigned stage = 0; stage < MAIL_STAGE_NR; stage++)
        (void)mail_classify((enum mail_stage)stage, p->code, pr_buf_slice(&p->text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mail_reply_parser whole, pieces;
    int rc = 0;
    if (size == 0)
        return 0;
    struct pr_slice in = pr_slice(data + 1, size - 1);
    mail_reply_parser_init(&whole);
    mail_reply_parser_init(&pieces);
    while (rc == 0 && in.len > 0) {
        int rc_pieces;
        size_t used = read_one(&whole, in, SIZE_MAX, &rc);
        size_t used_pieces = read_one(&pieces, in, (size_t)1 + data[0], &rc_pieces);
        require(rc == rc_pieces && used == used_pieces && whole.done == pieces.done);
        require(!whole.done ||
                (whole.code == pieces.code && whole.lines == pieces.lines && whole.truncated == pieces.truncated &&
                 pr_slice_eq(pr_buf_slice(&whole.text), pr_buf_slice(&pieces.text))));
        if (!whole.done)
            break;
        check_reply(&whole);
        in = pr_slice_from(in, used);
        mail_reply_parser_clear(&whole);
        mail_reply_parser_clear(&pieces);
    }
    mail_reply_parser_fini(&whole);
    mail_reply_parser_fini(&pieces);
    return 0;
}
