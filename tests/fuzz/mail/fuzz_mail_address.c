/* Addresses: the first byte gives the flags, the rest is the path. What parses stays within its limits, holds no
 * control byte, and parses to itself again when printed. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mail/address.h"
#include "common/mail/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_address(struct pr_slice in, unsigned flags)
{
    struct mail_address a, b;
    struct pr_slice rest;
    struct pr_buf printed = {0}, domain = {0};
    if (mail_address_parse(in, flags, &a, &rest) != 0)
        return;
    require(rest.len <= in.len && a.text.len + 2 <= MAIL_PATH_MAX && a.local.len <= MAIL_LOCAL_MAX);
    require(rest.len == 0 || rest.ptr + rest.len == in.ptr + in.len);
    require(mail_text_valid(a.text) && a.utf8 == !pr_is_ascii(a.text));
    require(!a.utf8 || (flags & MAIL_ADDRESS_ALLOW_UTF8) != 0);
    require(a.kind != MAIL_ADDRESS_NULL || ((flags & MAIL_ADDRESS_ALLOW_NULL) != 0 && a.text.len == 0));
    require(a.kind != MAIL_ADDRESS_DOMAIN || mail_domain_valid(a.domain, true));
    require(a.kind != MAIL_ADDRESS_LITERAL || mail_literal_valid(a.domain));
    pr_buf_char(&printed, '<');
    pr_buf_add(&printed, a.text);
    pr_buf_char(&printed, '>');
    require(mail_address_parse(pr_buf_slice(&printed), flags & ~(unsigned)MAIL_ADDRESS_BARE, &b, &rest) == 0);
    require(rest.len == 0 && b.kind == a.kind && pr_slice_eq(a.text, b.text) && pr_slice_eq(a.local, b.local) &&
            pr_slice_eq(a.domain, b.domain));
    mail_domain_normalize(a.domain, &domain);
    require(mail_domain_eq(a.domain, pr_buf_slice(&domain)) && mail_domain_match(a.domain, pr_buf_slice(&domain)));
    pr_buf_fini(&printed);
    pr_buf_fini(&domain);
}

static void check_xtext(struct pr_slice in)
{
    struct pr_buf text = {0}, coded = {0}, again = {0};
    if (mail_xtext_decode(in, &text) == 0) {
        require(mail_text_valid(pr_buf_slice(&text)));
        mail_xtext_encode(pr_buf_slice(&text), &coded);
        require(mail_xtext_decode(pr_buf_slice(&coded), &again) == 0);
        require(pr_slice_eq(pr_buf_slice(&again), pr_buf_slice(&text)));
    }
    pr_buf_fini(&text);
    pr_buf_fini(&coded);
    pr_buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct pr_slice in = pr_slice(data + 1, size - 1);
    check_address(in, data[0] & 7);
    check_xtext(in);
    if (mail_helo_valid(in))
        require(pr_is_ascii(in) && in.len <= MAIL_DOMAIN_MAX && mail_text_valid(in));
    if (mail_domain_valid(in, false))
        require(mail_domain_valid(in, true) && mail_helo_valid(in));
    if (mail_literal_valid(in))
        require(mail_helo_valid(in));
    return 0;
}
