/* DNS replies as a server may send them. First byte: which type was asked for; the name is the packet's own question, so
 * that the parser gets past it. */
#include <assert.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/net/dns_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The uncompressed name after the header, lower case, with dots; shortened rather than refused. */
static size_t question_name(struct pr_slice packet, char out[256])
{
    size_t n = 0, at = 12;
    while (at < packet.len && packet.ptr[at] != 0 && (unsigned char)packet.ptr[at] <= 63) {
        size_t len = (unsigned char)packet.ptr[at++];
        if (len > packet.len - at || n + len + 1 > 255)
            break;
        if (n > 0)
            out[n++] = '.';
        for (size_t i = 0; i < len; i++)
            out[n++] = pr_lower(packet.ptr[at++]);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum pr_dns_type types[] = {PR_DNS_A, PR_DNS_MX, PR_DNS_AAAA};
    struct pr_dns_reply r;
    char name[256];
    if (size == 0)
        return 0;
    struct pr_slice packet = pr_slice(data + 1, size - 1);
    size_t n = question_name(packet, name);
    enum pr_dns_type type = types[data[0] % 3];
    pr_dns_parse(packet, pr_slice(name, n), type, &r);
    assert(r.n <= PR_DNS_RECORDS_MAX);
    assert((r.status == PR_DNS_OK) == (r.n > 0));
    assert((r.status == PR_DNS_TEMP) == (r.error != NULL));
    assert(r.ttl_s <= INT32_MAX);
    for (size_t i = 0; type == PR_DNS_MX && i < r.n; i++)
        assert(r.mx[i].host[0] == '\0' || pr_dns_host_valid(pr_slice_str(r.mx[i].host)));
    pr_dns_reply_fini(&r);
    return 0;
}
