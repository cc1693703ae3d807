/* value.h - scalar values as text: strict parsers with a reason and a hint, and the canonical text back; inside
 * common/conf only.
 *
 * Owns: nothing; results live in the arena. Thread: any. Errors: conf_fault says what and how to write it instead. */
#ifndef PR_CONF_VALUE_H
#define PR_CONF_VALUE_H

#include "common/base/arena.h"
#include "common/conf/config.h"
#include "common/conf/schema.h"

struct conf_fault {
    struct pr_buf message, hint; /* hint may be empty */
};
void conf_fault_fini(struct conf_fault *f);

struct conf_input {
    struct pr_slice text;
    bool plain;       /* unquoted */
    bool substituted; /* quotes say nothing then */
    const char *dir;  /* of the file, for file: secrets; NULL: working folder */
};

/* Stores the value at `field`. PR_EPARSE with *reterr_fault filled (which the caller frees always). */
PR_MUST_USE int conf_value_parse(const struct conf_item *item, const struct conf_input *in, struct pr_arena *arena,
                                 void *field, struct conf_fault *reterr_fault);
/* Appends the canonical text of the value at `field`; false when there is none (NULL text). Secrets are redacted. */
bool conf_value_text(const struct conf_item *item, const void *field, struct pr_buf *out);

/* Appends the values of a list of scalars, ", " between them. */
void conf_list_text(const struct conf_item *item, const void *base, struct pr_buf *out);

/* The parsers that routes and checks use alone. Lower case host, canonical form in *ret. */
PR_MUST_USE int conf_parse_duration(struct pr_slice s, uint64_t *ret_us, struct conf_fault *f);
PR_MUST_USE int conf_parse_size(struct pr_slice s, uint64_t *ret_bytes, struct conf_fault *f);
PR_MUST_USE int conf_parse_rate(struct pr_slice s, struct pr_rate *ret, struct conf_fault *f);
PR_MUST_USE int conf_parse_cidr(struct pr_slice s, struct pr_cidr *ret, struct conf_fault *f);
PR_MUST_USE int conf_parse_hostport(struct pr_slice s, struct pr_arena *arena, struct pr_hostport *ret,
                                    struct conf_fault *f);
PR_MUST_USE int conf_parse_route(struct pr_slice s, struct pr_arena *arena, struct pr_conf_route *ret,
                                 struct conf_fault *f);
/* An address without brackets, v4-mapped for IPv4. */
bool conf_parse_address(struct pr_slice s, struct in6_addr *ret);
/* A host name: letters, digits, hyphens in labels of 1-63, 253 in all, last label not all digits. */
bool conf_host_valid(struct pr_slice s);

void conf_duration_text(uint64_t us, struct pr_buf *out);
void conf_size_text(uint64_t bytes, struct pr_buf *out);
void conf_rate_text(const struct pr_rate *r, struct pr_buf *out);
void conf_cidr_text(const struct pr_cidr *c, struct pr_buf *out);
void conf_hostport_text(const struct pr_hostport *h, struct pr_buf *out);

/* Sets message and hint (hint may be NULL); returns PR_EPARSE. */
int conf_fail(struct conf_fault *f, const char *hint, const char *fmt, ...) PR_PRINTF(3, 4);

#endif
