/* spool.h - the way of a message to the queue, one per loop thread: link to the scheduler node (control and bulk lane),
 * choice of a shard, batches, parts of large bodies, resends until the answer is known.
 *
 *   upload_open -> upload_append* -> upload_commit -> owner.committed
 *                       |                |
 *                       +-> owner.space  +-> upload_abort: the owner does not wait any more
 *                       +-> owner.lost
 *
 * Owns: sockets, uploads, their memory (counted in the budget). Borrows: owners, until upload_abort or committed.
 * Thread: that of its loop. Reentrancy: owner callbacks come from the loop, never from inside a call into the spool; they
 * may call the spool. Errors: states of the queue are values (enum ing_spool_status). */
#ifndef PR_INGRESS_SHELL_SPOOL_H
#define PR_INGRESS_SHELL_SPOOL_H

#include <uv.h>

#include "common/base/log.h"
#include "common/net/bus.h"
#include "ingress/core/pick.h"
#include "ingress/core/session.h"
#include "ingress/shell/budget.h"
#include "ingress/shell/metrics.h"

struct spool;
struct upload;

struct spool_owner {
    /* Room for another chunk after upload_append returned false. */
    void (*space)(void *owner);
    /* Before commit: the parts are lost. The owner calls upload_abort. */
    void (*lost)(void *owner, enum ing_spool_status status);
    /* The upload ends with this call. id is borrowed until return. */
    void (*committed)(void *owner, enum ing_spool_status status, struct pr_slice id);
};

struct spool_options {
    struct pr_bus_ctx *ctx;
    const char *address, *bulk_address;
    struct pr_slice node_id; /* borrowed until return */
    uint64_t boot_id;
    uint32_t lane;
    struct budget *budget;   /* borrowed */
    struct pr_metrics *metrics;
    struct pr_log *log;
    const struct spool_owner *owner;
    void (*on_intake)(void *data, enum ing_intake intake); /* when it changes */
    void *data;
};

PR_MUST_USE int spool_new(uv_loop_t *loop, const struct spool_options *o, struct spool **ret);
/* No upload may be left. on_closed from the loop; the spool is gone then. */
void spool_close(struct spool *sp, void (*on_closed)(void *data), void *data);

enum ing_intake spool_intake(const struct spool *sp);
size_t spool_pending(const struct spool *sp);
/* Age of the oldest hand-over that was not answered. */
uint64_t spool_oldest_us(const struct spool *sp);
/* End of a loop turn: what was gathered goes out. */
void spool_flush(struct spool *sp);
/* About ten times a second: heartbeats, resends, silence. */
void spool_tick(struct spool *sp);

struct upload *upload_open(struct spool *sp, void *owner, uint64_t size_hint);
/* Text for the trace field; lives as long as the upload. */
struct pr_slice upload_token(const struct upload *u);
/* Takes the bytes. False: no more before owner.space. */
bool upload_append(struct upload *u, struct pr_buf *chunk);
/* Takes the bytes; borrows the envelope until return. */
void upload_commit(struct upload *u, const struct mail_envelope *envelope, struct pr_buf *last);
/* No callback comes any more. */
void upload_abort(struct upload *u);

#endif
