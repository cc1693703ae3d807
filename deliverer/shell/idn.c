#include "deliverer/shell/idn.h"

#include <idn2.h>

int dlv_domain_to_ascii(struct pr_slice domain, struct pr_buf *out)
{
    struct pr_buf name = {0};
    char *ascii = NULL;
    if (pr_is_ascii(domain)) {
        pr_buf_add(out, domain);
        return 0;
    }
    pr_buf_add(&name, domain);
    int rc = idn2_lookup_u8((const uint8_t *)pr_buf_cstr(&name), (uint8_t **)&ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    pr_buf_fini(&name);
    if (rc != IDN2_OK)
        return PR_EPARSE;
    pr_buf_str(out, ascii);
    idn2_free(ascii);
    return 0;
}
