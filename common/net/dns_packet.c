#include "common/net/dns_packet.h"

#include <string.h>

#include "common/base/alloc.h"

enum {
    HEADER_BYTES = 12,
    LABEL_MAX = 63,
    TYPE_NS = 2,
    TYPE_CNAME = 5,
    TYPE_SOA = 6,
    CLASS_IN = 1,
    RCODE_NOERROR = 0,
    RCODE_NXDOMAIN = 3,
};

const char *const pr_dns_status_names[PR_DNS_STATUS_NR] = {"ok", "nodata", "nxdomain", "temp"};

/* A name in lower case with dots between labels; labels with other than graphic ASCII, or a dot inside, make it odd: it is
 * no name that we ask for or connect to. */
struct name {
    size_t len;
    bool odd;
    char text[256];
};

struct rr {
    struct name owner;
    uint16_t type, class;
    uint32_t ttl_s;
    size_t at, len; /* of the data in the packet */
};

struct packet {
    struct pr_slice bytes;
    size_t at;
    uint16_t flags, n_questions, n_answers, n_authority;
    size_t answers_at; /* first answer record */
};

static uint16_t read_u16(const struct packet *p, size_t at)
{
    return (uint16_t)((unsigned char)p->bytes.ptr[at] << 8 | (unsigned char)p->bytes.ptr[at + 1]);
}

static uint32_t read_u32(const struct packet *p, size_t at)
{
    return (uint32_t)read_u16(p, at) << 16 | read_u16(p, at + 2);
}

static bool has(const struct packet *p, size_t at, size_t n)
{
    return at <= p->bytes.len && n <= p->bytes.len - at;
}

static int add_label(struct name *n, const char *label, size_t len)
{
    size_t dot = n->len > 0;
    if (n->len + dot + len > PR_DNS_NAME_MAX)
        return PR_EPARSE;
    if (dot)
        n->text[n->len++] = '.';
    for (size_t i = 0; i < len; i++) {
        char c = label[i];
        n->odd = n->odd || c <= ' ' || c > '~' || c == '.';
        n->text[n->len++] = pr_lower(c);
    }
    return 0;
}

/* Reads the name at *at and moves *at behind it. RFC 1035 4.1.4: a pointer leads to a prior place; as each one must lead
 * before the one that brought us here, there is no loop. */
static int read_name(const struct packet *p, size_t *at, struct name *ret)
{
    size_t pos = *at, barrier = *at;
    bool jumped = false;
    *ret = (struct name){.len = 0};
    while (has(p, pos, 1)) {
        size_t len = (unsigned char)p->bytes.ptr[pos];
        if (len == 0) {
            if (!jumped)
                *at = pos + 1;
            return 0;
        }
        if ((len & 0xc0) == 0xc0) {
            if (!has(p, pos, 2))
                return PR_EPARSE;
            size_t target = read_u16(p, pos) & 0x3fff;
            if (target >= barrier || target < HEADER_BYTES)
                return PR_EPARSE;
            if (!jumped)
                *at = pos + 2;
            jumped = true;
            pos = barrier = target;
            continue;
        }
        if (len > LABEL_MAX || !has(p, pos + 1, len) || add_label(ret, p->bytes.ptr + pos + 1, len) != 0)
            return PR_EPARSE;
        pos += 1 + len;
    }
    return PR_EPARSE;
}

static int read_rr(const struct packet *p, size_t *at, struct rr *ret)
{
    if (read_name(p, at, &ret->owner) != 0 || !has(p, *at, 10))
        return PR_EPARSE;
    ret->type = read_u16(p, *at);
    ret->class = read_u16(p, *at + 2);
    ret->ttl_s = read_u32(p, *at + 4);
    if (ret->ttl_s > INT32_MAX)
        ret->ttl_s = 0; /* RFC 2181 8 */
    ret->len = read_u16(p, *at + 8);
    ret->at = *at + 10;
    if (!has(p, ret->at, ret->len))
        return PR_EPARSE;
    *at = ret->at + ret->len;
    return 0;
}

/* A name inside record data must end with it (or before, where more follows). */
static int read_data_name(const struct packet *p, const struct rr *rr, size_t *at, struct name *ret)
{
    if (read_name(p, at, ret) != 0 || *at > rr->at + rr->len)
        return PR_EPARSE;
    return 0;
}

static bool is_name(const struct name *n, struct pr_slice name)
{
    return !n->odd && pr_slice_eq(pr_slice(n->text, n->len), name);
}

static const char *rcode_text(unsigned rcode)
{
    switch (rcode) {
    case 1:
        return "server did not understand the question (FORMERR)";
    case 2:
        return "server failed (SERVFAIL)";
    case 4:
        return "server does not implement the question (NOTIMP)";
    case 5:
        return "server refused the question (REFUSED)";
    default:
        return "server answered with an error";
    }
}

static void refuse(struct pr_dns_reply *r, const char *error)
{
    r->status = PR_DNS_TEMP;
    r->error = error;
    r->n = 0;
    r->ttl_s = 0;
}

/* Header and question (RFC 1035 4.1.1, 4.1.2). NULL when they are those of an answer to what we asked. */
static const char *open_packet(struct packet *p, struct pr_slice bytes, struct pr_slice name, enum pr_dns_type type)
{
    enum { QR = 0x8000, OPCODE = 0x7800, TC = 0x0200 };
    struct name q;
    *p = (struct packet){.bytes = bytes, .at = HEADER_BYTES};
    if (!has(p, 0, HEADER_BYTES))
        return "malformed reply";
    p->flags = read_u16(p, 2);
    p->n_questions = read_u16(p, 4);
    p->n_answers = read_u16(p, 6);
    p->n_authority = read_u16(p, 8);
    if ((p->flags & QR) == 0 || (p->flags & OPCODE) != 0 || p->n_questions != 1)
        return "malformed reply";
    if ((p->flags & TC) != 0)
        return "truncated reply";
    if (read_name(p, &p->at, &q) != 0 || !has(p, p->at, 4))
        return "malformed reply";
    if (!is_name(&q, name) || read_u16(p, p->at) != (uint16_t)type || read_u16(p, p->at + 2) != CLASS_IN)
        return "reply to another question";
    p->at += 4;
    p->answers_at = p->at;
    return NULL;
}

/* --- answers --- */

static void lower_ttl(struct pr_dns_reply *r, uint32_t ttl_s)
{
    if (ttl_s < r->ttl_s)
        r->ttl_s = ttl_s;
}

static int add_mx(const struct packet *p, const struct rr *rr, struct pr_dns_reply *r)
{
    struct name host;
    size_t at = rr->at + 2;
    if (rr->len < 3 || read_data_name(p, rr, &at, &host) != 0 || at != rr->at + rr->len)
        return PR_EPARSE;
    struct pr_slice text = pr_slice(host.text, host.len);
    if (host.len > 0 && (host.odd || !pr_dns_host_valid(text)))
        return 0; /* no host can have that name: as if it were not there */
    r->mx[r->n++] = (struct pr_dns_mx){.preference = read_u16(p, rr->at), .host = pr_arena_cstr(&r->arena, text)};
    return 0;
}

static int add_record(const struct packet *p, const struct rr *rr, struct pr_dns_reply *r)
{
    if (r->n == PR_DNS_RECORDS_MAX)
        return 0;
    lower_ttl(r, rr->ttl_s);
    if (rr->type == PR_DNS_MX)
        return add_mx(p, rr, r);
    struct in6_addr *a = &r->addrs[r->n];
    if (rr->len != (rr->type == PR_DNS_A ? 4 : 16))
        return PR_EPARSE;
    if (rr->type == PR_DNS_A) {
        *a = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
        memcpy(&a->s6_addr[12], p->bytes.ptr + rr->at, 4);
    } else {
        memcpy(a, p->bytes.ptr + rr->at, 16);
    }
    r->n++;
    return 0;
}

enum scan { SCAN_BAD, SCAN_NONE, SCAN_CNAME, SCAN_RECORDS };

/* One pass over the answers for what belongs to `owner`: its records, or the CNAME that stands in their place. */
static enum scan scan_answers(const struct packet *p, struct pr_slice owner, enum pr_dns_type type,
                              struct pr_dns_reply *r, struct name *ret_target)
{
    size_t at = p->answers_at, n = PR_MIN(p->n_answers, (size_t)PR_DNS_RRS_MAX);
    enum scan found = SCAN_NONE;
    uint32_t cname_ttl_s = 0;
    struct rr rr;
    for (size_t i = 0; i < n; i++) {
        if (read_rr(p, &at, &rr) != 0)
            return SCAN_BAD;
        if (rr.class != CLASS_IN || !is_name(&rr.owner, owner))
            continue;
        if (rr.type == (uint16_t)type) {
            if (add_record(p, &rr, r) != 0)
                return SCAN_BAD;
            found = SCAN_RECORDS;
        } else if (rr.type == TYPE_CNAME && found == SCAN_NONE) {
            size_t data_at = rr.at;
            if (read_data_name(p, &rr, &data_at, ret_target) != 0 || data_at != rr.at + rr.len)
                return SCAN_BAD;
            cname_ttl_s = rr.ttl_s;
            found = SCAN_CNAME;
        }
    }
    if (found == SCAN_CNAME)
        lower_ttl(r, cname_ttl_s);
    return found;
}

/* --- refusals --- */

struct authority {
    bool soa, ns;
    uint32_t ttl_s;
};

/* RFC 2308 5: a negative answer lives as long as the lower of the SOA's own TTL and its minimum field. */
static int read_soa(const struct packet *p, const struct rr *rr, struct authority *a)
{
    struct name ignored;
    size_t at = rr->at;
    if (read_data_name(p, rr, &at, &ignored) != 0 || read_data_name(p, rr, &at, &ignored) != 0 ||
        at + 20 != rr->at + rr->len)
        return PR_EPARSE;
    uint32_t minimum = read_u32(p, at + 16);
    a->soa = true;
    a->ttl_s = PR_MIN(rr->ttl_s, minimum > INT32_MAX ? 0 : minimum);
    return 0;
}

static int read_authority(const struct packet *p, struct authority *a)
{
    size_t at = p->answers_at, n = (size_t)p->n_answers + p->n_authority;
    *a = (struct authority){0};
    if (n > PR_DNS_RRS_MAX)
        return 0; /* unremembered */
    struct rr rr;
    for (size_t i = 0; i < n; i++) {
        if (read_rr(p, &at, &rr) != 0)
            return PR_EPARSE;
        if (i < p->n_answers || rr.class != CLASS_IN)
            continue;
        a->ns = a->ns || rr.type == TYPE_NS;
        if (rr.type == TYPE_SOA && read_soa(p, &rr, a) != 0)
            return PR_EPARSE;
    }
    return 0;
}

static void negative(const struct packet *p, struct pr_dns_reply *r, bool chained)
{
    enum { AA = 0x0400, RA = 0x0080 };
    struct authority a;
    if (read_authority(p, &a) != 0) {
        refuse(r, "malformed reply");
        return;
    }
    bool nxdomain = (p->flags & 15) == RCODE_NXDOMAIN;
    if (!nxdomain && !a.soa && a.ns && (p->flags & (AA | RA)) == 0) {
        refuse(r, "server does not look names up for us (referral)");
        return;
    }
    r->status = nxdomain ? PR_DNS_NXDOMAIN : PR_DNS_NODATA;
    r->n = 0;
    r->ttl_s = !a.soa ? 0 : chained ? PR_MIN(r->ttl_s, a.ttl_s) : a.ttl_s;
}

void pr_dns_parse(struct pr_slice packet, struct pr_slice name, enum pr_dns_type type, struct pr_dns_reply *ret)
{
    struct packet p;
    *ret = (struct pr_dns_reply){.status = PR_DNS_OK, .ttl_s = INT32_MAX};
    const char *bad = open_packet(&p, packet, name, type);
    unsigned rcode = p.flags & 15;
    if (bad == NULL && rcode != RCODE_NOERROR && rcode != RCODE_NXDOMAIN)
        bad = rcode_text(rcode);
    if (bad != NULL) {
        refuse(ret, bad);
        return;
    }
    struct name names[2];
    struct pr_slice owner = name;
    for (unsigned links = 0;; links++) {
        struct name *target = &names[links % 2];
        enum scan found = scan_answers(&p, owner, type, ret, target);
        if (found == SCAN_BAD || (found == SCAN_RECORDS && ret->n == 0)) {
            refuse(ret, "malformed reply");
            return;
        }
        if (found == SCAN_RECORDS)
            return;
        if (found == SCAN_NONE) {
            negative(&p, ret, links > 0);
            return;
        }
        if (links == PR_DNS_CNAMES_MAX || target->odd) {
            refuse(ret, target->odd ? "malformed CNAME" : "CNAME chain is too long or a loop");
            return;
        }
        owner = pr_slice(target->text, target->len);
    }
}

void pr_dns_reply_fini(struct pr_dns_reply *r)
{
    pr_arena_fini(&r->arena);
}

bool pr_dns_host_valid(struct pr_slice name)
{
    size_t label = 0;
    if (name.len == 0 || name.len > PR_DNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if ((!pr_is_alnum(c) && c != '-' && c != '_') || ++label > LABEL_MAX) {
            return false;
        }
    }
    return label > 0;
}
