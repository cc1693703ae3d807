/* header.h - linear, bounded scan of a message header while it streams by: counts Received (loop detection), finds
 * where the header ends, notes which of a few fields are present. Never folds or rewrites.
 *
 * Restartable at any byte. Owns nothing. */
#ifndef PR_MAIL_HEADER_H
#define PR_MAIL_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/slice.h"

enum mail_header_seen {
    MAIL_HEADER_DATE = 1,
    MAIL_HEADER_MESSAGE_ID = 2,
    MAIL_HEADER_FROM = 4,
    MAIL_HEADER_SUBJECT = 8
};

struct mail_header_scan {
    unsigned state; /* private */
    char name[32];  /* private: start of the present field's name, lower case */
    size_t name_len;
    unsigned received;    /* Received fields seen */
    unsigned seen;        /* enum mail_header_seen bits */
    size_t header_bytes;  /* up to and including the empty line, once done */
    size_t longest_field; /* octets with line ends, for the limit of one header field */
    size_t field_len;     /* of the field being read */
    bool done;            /* header ended */
};

void mail_header_scan_init(struct mail_header_scan *s);
void mail_header_scan(struct mail_header_scan *s, struct pr_slice in);

/* The Received field (RFC 5321 4.4, 3848), folded, ending in CRLF. Every value is quoted or replaced so that nothing a
 * peer or DNS said can break the field. for_ is empty unless there is exactly one recipient. id is our queue id or
 * token. */
struct mail_received {
    struct pr_slice helo, client_name /* empty: unknown */, client_address, by, with,
        tls /* "TLSv1.3 with cipher X", or empty */, id, for_;
    pr_wall date;
};
void mail_received_format(const struct mail_received *r, struct pr_buf *out);
/* RFC 5322 date-time in UTC: "Sat, 21 Nov 2026 07:30:00 +0000". */
void mail_date_format(pr_wall t, struct pr_buf *out);

#endif
