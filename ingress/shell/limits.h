/* limits.h - connections per listener and per client, over all loop threads.
 *
 * Owns: its counters. Thread: any (a lock; held for one look-up per connection). */
#ifndef PR_INGRESS_SHELL_LIMITS_H
#define PR_INGRESS_SHELL_LIMITS_H

#include <netinet/in.h>
#include <stdbool.h>

#include "common/conf/config.h"

struct limits;
struct limits *limits_new(uint64_t seed);
void limits_free(struct limits *l);
/* addr: NULL if unknown: only the listener's limit concerns it. Counts in any case; false: one too many. */
bool limits_enter(struct limits *l, const struct pr_conf_listener *at, const struct in6_addr *addr);
void limits_leave(struct limits *l, const char *listener, const struct in6_addr *addr);

#endif
