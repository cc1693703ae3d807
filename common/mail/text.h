/* text.h - bytes that others chose, made fit to stand in our replies, headers and reports.
 *
 * Owns: nothing. Thread: any, no state. Errors: none, whatever cannot stand is replaced by '?'. */
#ifndef PR_MAIL_TEXT_H
#define PR_MAIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/slice.h"

/* Length of the well-formed UTF-8 sequence at the front, or 0. C1 controls (U+0080 to U+009F) and the line and
 * paragraph separators U+2028 and U+2029 count as ill-formed: they are control characters. */
size_t mail_text_sequence(struct pr_slice s);
/* Valid UTF-8 without control characters of any kind. */
bool mail_text_valid(struct pr_slice s);
/* Appends s as printable text: a tab becomes a space, other control bytes and bytes that are not UTF-8 become '?', and
 * so does every non-ASCII byte when utf8 is false. */
void mail_text_clean(struct pr_slice s, bool utf8, struct pr_buf *out);
/* Appends s word by word, cleaned as above, breaking lines with CRLF and `indent` so that none passes MAIL_TEXT_COLUMNS
 * octets; runs of white space and line ends become one break or space. column is how much the present line holds
 * already. A word that fits no line is cut. Ends without a line end. */
enum { MAIL_TEXT_COLUMNS = 78 };
void mail_text_fold(struct pr_slice s, bool utf8, size_t column, const char *indent, struct pr_buf *out);

#endif
