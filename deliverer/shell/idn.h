/* idn.h - domain names as DNS knows them (RFC 5890, RFC 6531 3.2). Thread: any. */
#ifndef DLV_IDN_H
#define DLV_IDN_H

#include "common/base/buf.h"

/* Appends the name with its U-labels as A-labels; ASCII names as they are. PR_EPARSE: no internationalized domain name. */
PR_MUST_USE int dlv_domain_to_ascii(struct pr_slice domain, struct pr_buf *out);

#endif
