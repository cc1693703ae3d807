/* recent.h - how the latest messages ended, so that somebody who follows one learns it after it has left the queue. Only a
 * help for eyes: in memory, bounded, gone with the process, forgotten by age.
 *
 * Owns: its texts. Thread: any (one lock). */
#ifndef PR_SCHEDULER_SHELL_RECENT_H
#define PR_SCHEDULER_SHELL_RECENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/slice.h"

enum { RECENT_MAX = 4096, RECENT_TEXT_MAX = 200, RECENT_REMOTE_MAX = 100 };
enum recent_how { RECENT_DELIVERED, RECENT_BOUNCED, RECENT_EXPIRED, RECENT_HOW_NR };
extern const char *const recent_names[RECENT_HOW_NR];

struct recent;
struct recent *recent_new(void);
/* NULL is a no-op, here and below. */
void recent_free(struct recent *r);
/* A group of recipients of the message is done. A message with several groups ends as its worst one. */
void recent_add(struct recent *r, uint32_t shard, uint64_t msg_id, enum recent_how how, uint16_t code,
                struct pr_slice diagnostic, struct pr_slice remote);
/* Appends "CODE TEXT (REMOTE)"; false when nothing is known of the message. */
bool recent_find(struct recent *r, uint32_t shard, uint64_t msg_id, enum recent_how *ret_how, struct pr_buf *out);

#endif
