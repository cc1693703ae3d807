/* spool_internal.h - shared by the files of the spool: spool.c link and shards, upload.c one message, parts.c its large
 * body, batch.c hand-overs and their answers. */
#ifndef PR_INGRESS_SHELL_SPOOL_INTERNAL_H
#define PR_INGRESS_SHELL_SPOOL_INTERNAL_H

#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/rng.h"
#include "common/wire/messages.h"
#include "ingress/shell/spool.h"

enum {
    SPOOL_SHARDS_MAX = 64,
    SPOOL_PARTS_MAX = 4, /* of one upload, not acknowledged */
    SPOOL_BATCH_BYTES = 1 << 20,
    SPOOL_BATCH_ITEMS = 256,
    SPOOL_SILENT_MS = 3000,       /* without a sign of the node the link is down */
    SPOOL_HEARTBEAT_MS = 1000,
    SPOOL_HELLO_MS = 3000,        /* also when all is well: the node may have forgotten us */
    SPOOL_RESEND_MS = 10000,      /* hand-over without an answer on a link that seems well */
    SPOOL_PART_RETRY_MS = 200,
    SPOOL_PART_SILENT_MS = 5000,
    SPOOL_PARTS_TROUBLE_MS = 30000,
    SPOOL_TOKENS = 64,
    SPOOL_TRIES = 3, /* shards that may say BUSY before the client hears it */
};
#define SPOOL_NO_SHARD UINT32_MAX

/*
 *   OPEN --commit--> PARTS --all parts acknowledged--> QUEUED --flush--> SENT --> (answered, freed)
 *     |                                                  ^  ^              |
 *     +-------------- commit, inline --------------------+  +-- NOT_LEADER, UNKNOWN, link reset, silence
 */
enum upload_state { UPLOAD_OPEN, UPLOAD_PARTS, UPLOAD_QUEUED, UPLOAD_SENT };

struct part {
    struct pr_buf bytes;
    uint32_t seq;
    bool sent; /* and neither acknowledged nor refused */
};

struct upload_group {
    size_t domain_at, domain_len, encoded_at, encoded_len; /* in meta */
    uint32_t n_rcpts;
};

struct upload {
    struct spool *spool;
    void *owner;
    enum upload_state state;
    struct wire_token token;
    char token_text[2 * sizeof(struct wire_token)];
    struct pr_list link; /* QUEUED: the shard's queue or the spool's homeless; SENT: the shard's sent */
    struct pr_list parts_link; /* in spool.with_parts while parts are not acknowledged */
    uint32_t shard;      /* SPOOL_NO_SHARD: any will do */
    bool maybe_stored;   /* a hand-over may have been committed: only the same shard can tell */
    unsigned busy;       /* shards that said BUSY */
    uint64_t size_hint;

    struct pr_buf body; /* inline content */
    struct part parts[SPOOL_PARTS_MAX + 1];
    unsigned n_parts;
    uint32_t next_seq; /* parts made so far */
    uint64_t body_id;
    bool wants_space, trouble;
    pr_mono trouble_since, retry_at, part_sign;

    struct pr_buf meta; /* encoded envelope, groups and domains, tenant, pool */
    size_t envelope_len, tenant_at, tenant_len, pool_at, pool_len;
    struct upload_group *groups, one_group;
    size_t n_groups;
    enum mail_class class_;
    uint64_t size_bytes;
    uint64_t committed_us; /* by the owner */
    pr_mono sent_at;
    size_t held; /* of the budget */
};

struct spool_shard {
    struct ing_shard_view view;
    uint64_t term;
    struct pr_list queue, sent;
    uint64_t queue_bytes, sent_bytes;
};

struct spool {
    struct spool_options o;
    char *node_id;
    struct pr_bus *control, *bulk;
    bool up, closing;
    uint64_t node_boot_id;
    pr_mono last_sign, last_hello, last_heartbeat;
    enum ing_intake intake;
    struct spool_shard shards[SPOOL_SHARDS_MAX];
    struct ing_shard_view views[SPOOL_SHARDS_MAX];
    size_t n_shards;
    struct pr_map uploads; /* pending table: first half of the token -> struct upload */
    struct pr_list homeless;
    struct pr_list with_parts;
    bool dirty; /* a queue may have something to send */
    struct pr_rng rng;
    struct wire_token fresh[SPOOL_TOKENS]; /* random, not yet used: one system call for many */
    unsigned n_fresh;
    struct pr_buf header; /* scratch */
    unsigned open_sockets;
    void (*on_closed)(void *data);
    void *on_closed_data;
};

/* spool.c */
/* False: the node cannot be reached now. payload may be NULL; taken. */
bool spool_send(struct spool *sp, bool bulk, const struct wire_msg *m, struct pr_buf *payload);
struct upload *spool_find(struct spool *sp, const struct wire_token *token);
uint32_t spool_pick(struct spool *sp, uint64_t bytes);
void spool_link_down(struct spool *sp, const char *why);

/* batch.c */
void batch_add(struct upload *u);
/* Out of whatever list it is in. */
void batch_remove(struct upload *u);
/* Places what has no shard, or one that lost its leader. */
void batch_rehome(struct spool *sp);
/* Everything sent counts as perhaps stored and waits to be sent again. */
void batch_link_reset(struct spool *sp);
void batch_resend_silent(struct spool *sp, pr_mono now);
void batch_flush(struct spool *sp);
void batch_on_ack(struct spool *sp, const struct wire_enqueue_ack *ack);

/* parts.c */
void parts_add(struct upload *u, struct pr_buf *bytes);
void parts_on_ack(struct spool *sp, const struct wire_part_ack *ack);
void parts_tick(struct spool *sp, pr_mono now);
void parts_link_reset(struct spool *sp);
void parts_free(struct upload *u);

/* upload.c */
void upload_free(struct upload *u);
/* Tells the owner and ends. */
void upload_finish(struct upload *u, enum ing_spool_status status, uint64_t msg_id);

#endif
