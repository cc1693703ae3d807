/* relay.h - who may send where: trusted clients anywhere, everybody else only to our domains. Nothing else opens a way:
 * not the sender, not a source route, not `%` or `!` in a local-part (RFC 5321 3.6, 7.9).
 *
 * Owns: copies of all names. Thread: changing one, asking any. */
#ifndef INGRESS_CORE_RELAY_H
#define INGRESS_CORE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/slice.h"
#include "common/mail/address.h"

enum ing_relay_kind {
    ING_RELAY_REFUSED,
    ING_RELAY_OWN,     /* our domain, our literal, or <postmaster> */
    ING_RELAY_PARTNER, /* a relay domain */
    ING_RELAY_TRUSTED, /* anywhere, because of who asks */
};

struct ing_relay;
struct ing_relay *ing_relay_new(uint64_t seed);
/* NULL is a no-op. */
void ing_relay_free(struct ing_relay *r);
/* pattern: exact, or ".x" / "*.x" for everything below x. */
void ing_relay_add(struct ing_relay *r, struct pr_slice pattern, enum ing_relay_kind kind);
/* "[192.0.2.1]" or "[IPv6:...]": an address of ours. */
void ing_relay_add_literal(struct ing_relay *r, struct pr_slice literal);
enum ing_relay_kind ing_relay_decide(const struct ing_relay *r, bool trusted, const struct mail_address *rcpt);

#endif
