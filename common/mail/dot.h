/* dot.h - the message stream of DATA: inbound decoder and outbound encoder (RFC 5321 4.5.2).
 *
 * Inbound: only CRLF.CRLF (or .CRLF as the first line) ends data. A leading dot is removed only after a genuine CRLF.
 * Bare CR, bare LF and NUL are either noted for refusal (policy reject: the message is swallowed to its genuine end) or
 * normalised: a bare CR or LF becomes CRLF, a NUL goes. Restartable at any byte: the result does not depend on the
 * segmentation. */
#ifndef PR_MAIL_DOT_H
#define PR_MAIL_DOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/slice.h"

enum mail_dot_policy { MAIL_DOT_REJECT, MAIL_DOT_NORMALIZE };
enum mail_dot_defect { MAIL_DOT_BARE_LF = 1, MAIL_DOT_BARE_CR = 2, MAIL_DOT_NUL = 4, MAIL_DOT_LONG_LINE = 8 };

enum { MAIL_LINE_MAX = 998 }; /* RFC 5321 4.5.3.1.6, without CRLF */

struct mail_dot_decoder {
    enum mail_dot_policy policy;
    unsigned state;   /* private */
    unsigned defects; /* enum mail_dot_defect bits seen */
    bool done;
    bool eight_bit;                /* saw a byte >= 0x80 */
    size_t line_len, longest_line; /* octets without CRLF; over MAIL_LINE_MAX sets MAIL_DOT_LONG_LINE */
};

void mail_dot_decoder_init(struct mail_dot_decoder *d, enum mail_dot_policy policy);
/* Consumes from `in` until the end of data or of the input, appends decoded octets to out (nothing is appended once a
 * bare CR, bare LF or NUL was seen under MAIL_DOT_REJECT; a long line is only noted, the caller decides). Returns bytes
 * consumed; d->done tells that the genuine end was among them. */
size_t mail_dot_decode(struct mail_dot_decoder *d, struct pr_slice in, struct pr_buf *out);

/* Outbound: doubles leading dots, turns stray CR and LF into CRLF, drops NUL (8-bit otherwise untouched), and ends with
 * CRLF.CRLF exactly once (nothing may follow finish). Lines over MAIL_LINE_MAX are the caller's to refuse
 * (mail_line_check, over the same octets). */
struct mail_dot_encoder {
    unsigned state; /* private */
};
void mail_dot_encoder_init(struct mail_dot_encoder *e);
void mail_dot_encode(struct mail_dot_encoder *e, struct pr_slice in, struct pr_buf *out);
void mail_dot_finish(struct mail_dot_encoder *e, struct pr_buf *out);

/* The same line-end normalisation for BDAT without BINARYMIME: lone CR/LF become CRLF, no dot stuffing; finish adds a
 * final CRLF if the last line lacks one. */
struct mail_crlf_encoder {
    unsigned state;   /* private */
    unsigned defects; /* MAIL_DOT_BARE_LF, _BARE_CR, _NUL: what was mended; a CR at the very end only after finish */
};
void mail_crlf_encoder_init(struct mail_crlf_encoder *e);
void mail_crlf_encode(struct mail_crlf_encoder *e, struct pr_slice in, struct pr_buf *out);
void mail_crlf_finish(struct mail_crlf_encoder *e, struct pr_buf *out);

/* What the content needs of the way out: its longest line as either encoder will write it, dots not counted (RFC 5321
 * 4.5.3.1.6), and whether it is 8-bit. Restartable at any byte. */
struct mail_line_check {
    size_t line_len;     /* private */
    size_t longest_line; /* octets without CRLF */
    bool eight_bit;
};
void mail_line_check_init(struct mail_line_check *c);
void mail_line_check(struct mail_line_check *c, struct pr_slice in);

#endif
