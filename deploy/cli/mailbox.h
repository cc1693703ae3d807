/* mailbox.h - the messages that the trial sink has caught: the latest of them, in memory.
 *
 * Owns: everything. Bounded by number and bytes; the oldest go first. Thread: any (one lock). */
#ifndef DEPLOY_CLI_MAILBOX_H
#define DEPLOY_CLI_MAILBOX_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

enum { MAILBOX_MESSAGES_MAX = 1000, MAILBOX_BYTES_MAX = 64 << 20 };

/* One caught message. */
struct caught {
    uint64_t n;             /* from 1 */
    uint64_t connected_ms;  /* wall time of the connection */
    uint64_t mail_ms;       /* of MAIL */
    uint64_t received_ms;   /* of our reply to the end of data */
    char *client, *helo, *protocol, *sender, *reply;
    json_t *recipients;     /* array of strings */
    struct pr_buf content;
};
void caught_free(struct caught *m);

struct mailbox;
struct mailbox *mailbox_new(void);
void mailbox_free(struct mailbox *b);
/* Takes the message; returns its number. */
uint64_t mailbox_add(struct mailbox *b, struct caught *m);
/* The latest `limit` messages (0: all kept), newest first; message_id not NULL: only those with that Message-ID.
 * {"total", "kept", "messages": [...]} */
json_t *mailbox_list(struct mailbox *b, uint64_t limit, const char *message_id);
/* Appends the content; false when it is not (or no longer) there. */
bool mailbox_content(struct mailbox *b, uint64_t n, struct pr_buf *out);

/* Value of the first field of that name in the header, unfolded, at most 998 octets; empty when there is none. */
void mailbox_field(struct pr_slice content, const char *name, struct pr_buf *out);

#endif
