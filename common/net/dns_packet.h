/* dns_packet.h - reads one DNS reply (RFC 1035, 2308): the records that answer the question, through a chain of CNAMEs,
 * or the kind of refusal and how long it may be remembered. Pure: no I/O, no clock.
 *
 * Every length and pointer is checked; a name has at most 255 bytes, pointers lead only backwards, at most
 * PR_DNS_RRS_MAX records are looked at, a chain has at most PR_DNS_CNAMES_MAX links. Whatever does not fit is PR_DNS_TEMP.
 * Owns: names, until pr_dns_reply_fini. Thread: any. */
#ifndef PR_NET_DNS_PACKET_H
#define PR_NET_DNS_PACKET_H

#include "common/base/arena.h"
#include "common/net/resolver.h"

enum pr_dns_type { PR_DNS_A = 1, PR_DNS_MX = 15, PR_DNS_AAAA = 28 };
enum { PR_DNS_NAME_MAX = 253, PR_DNS_RRS_MAX = 512, PR_DNS_CNAMES_MAX = 10 };

struct pr_dns_reply {
    enum pr_dns_status status;
    const char *error; /* static, for TEMP */
    uint32_t ttl_s;    /* lowest of the chain and the records; negative: of the SOA, 0 without one */
    size_t n;
    struct pr_dns_mx mx[PR_DNS_RECORDS_MAX];
    struct in6_addr addrs[PR_DNS_RECORDS_MAX];
    struct pr_arena arena;
};

/* name: as asked, lower case, without trailing dot. Always fills *ret. */
void pr_dns_parse(struct pr_slice packet, struct pr_slice name, enum pr_dns_type type, struct pr_dns_reply *ret);
void pr_dns_reply_fini(struct pr_dns_reply *r);

/* Letters, digits, hyphens, underscores in labels of 1-63 bytes, 1-253 in all: what we ask for and connect to. */
bool pr_dns_host_valid(struct pr_slice name);

#endif
