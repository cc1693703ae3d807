/* xtext (RFC 3461 section 4): printable ASCII with "+XX" for the rest. */
#include "common/mail/address.h"
#include "common/mail/text.h"

static int upper_hex(char c)
{
    if (pr_is_digit(c))
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Raw bytes of xtext: %d33-126 except "+" and "=". UTF-8 passes here because utf-8-addr-unitext (RFC 6533 section 3) is
 * carried in the same parameter; where it is not allowed the command parser has refused it. */
static bool xchar(char c)
{
    unsigned char u = (unsigned char)c;
    return u > 32 && u != 127 && c != '+' && c != '=';
}

/* Next decoded byte in *ret_c; returns how many bytes of `in` it took, 0 when ill-formed. */
static size_t decode_one(struct pr_slice in, char *ret_c)
{
    if (in.ptr[0] != '+') {
        *ret_c = in.ptr[0];
        return xchar(in.ptr[0]) ? 1 : 0;
    }
    if (in.len < 3)
        return 0;
    int high = upper_hex(in.ptr[1]), low = upper_hex(in.ptr[2]);
    if (high < 0 || low < 0)
        return 0;
    *ret_c = (char)(unsigned char)(high << 4 | low);
    return pr_is_ctl(*ret_c) ? 0 : 3;
}

int mail_xtext_decode(struct pr_slice in, struct pr_buf *out)
{
    size_t start = out->len;
    for (size_t i = 0; i < in.len;) {
        char c;
        size_t n = decode_one(pr_slice_from(in, i), &c);
        if (n == 0) {
            out->len = start;
            return PR_EPARSE;
        }
        pr_buf_char(out, c);
        i += n;
    }
    struct pr_slice decoded = pr_slice(out->ptr == NULL ? NULL : out->ptr + start, out->len - start);
    if (!mail_text_valid(decoded)) {
        out->len = start;
        return PR_EPARSE;
    }
    return 0;
}

void mail_xtext_encode(struct pr_slice in, struct pr_buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < in.len; i++) {
        unsigned char c = (unsigned char)in.ptr[i];
        if (c < 0x80 && xchar(in.ptr[i])) {
            pr_buf_char(out, in.ptr[i]);
        } else {
            pr_buf_char(out, '+');
            pr_buf_char(out, hex[c >> 4]);
            pr_buf_char(out, hex[c & 15]);
        }
    }
}
