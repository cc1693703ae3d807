/* journal.h - the record of a transaction that was in doubt when the process died.
 *
 * A record is written before the end of content goes out and again when the reply is in; what never got that far needs
 * none, because a new process start that holds the lock proves that the old sockets are gone. On restart:
 *   delivered -> DELIVERED; end of content sent, no reply -> UNKNOWN; all others -> ABORTED (safe to try again at once).
 * Fixed size, so that a record can be stored in place in a mapped file. */
#ifndef DLV_JOURNAL_H
#define DLV_JOURNAL_H

#include "deliverer/core/mail.h"

struct dlv_ref {
    uint64_t msg_id;
    uint32_t group;
    uint64_t attempt_id;
};

enum { DLV_JOURNAL_RECORD = 64, DLV_JOURNAL_BITS = 13 /* bytes for DLV_RCPTS_MAX recipients */ };

struct dlv_journal_record {
    struct dlv_ref ref;
    uint64_t term;
    uint32_t shard;
    uint8_t n_rcpts;
    uint8_t delivered[DLV_JOURNAL_BITS]; /* a good reply is in */
    uint8_t doubt[DLV_JOURNAL_BITS];     /* end of content sent, no reply yet */
};

void dlv_journal_mark(uint8_t bits[DLV_JOURNAL_BITS], size_t i, bool on);
bool dlv_journal_marked(const uint8_t bits[DLV_JOURNAL_BITS], size_t i);
/* All of it is written with its checksum last in memory order of the slot; a torn record fails the check. */
void dlv_journal_encode(const struct dlv_journal_record *r, uint8_t out[DLV_JOURNAL_RECORD]);
/* PR_ENOTFOUND: the slot is empty (all zero). PR_ECORRUPT: torn or foreign. */
PR_MUST_USE int dlv_journal_decode(const uint8_t in[DLV_JOURNAL_RECORD], struct dlv_journal_record *ret);
/* What to report for recipient i after a restart. */
enum mail_outcome dlv_journal_outcome(const struct dlv_journal_record *r, size_t i);

#endif
