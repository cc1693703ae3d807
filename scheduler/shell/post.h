/* post.h - what the threads of a scheduler node hand to each other: heap items, owned by whoever holds them.
 *
 *   bus thread  -> shard thread: struct shard_post (a decoded message, lanes coming and going, configuration)
 *   HTTP thread -> shard thread: struct shard_post with an admin request, answered through its completion
 *   shard       -> bus thread:   struct bus_post (messages to send, the shard's state) */
#ifndef PR_SCHEDULER_SHELL_POST_H
#define PR_SCHEDULER_SHELL_POST_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/conf/config.h"
#include "common/net/bus.h"
#include "common/wire/messages.h"

/* Where an answer goes. A lane id is never used twice in the life of a process. */
struct peer {
    uint32_t lane_id;
    bool bulk;
    uint8_t routing_len;
    char routing[PR_BUS_PEER_MAX];
};

struct lane_facts {
    uint32_t lane_id;
    enum wire_role role;
    uint64_t boot_id;
    uint32_t lane;
    uint32_t max_jobs;
    struct peer control;
    uint8_t node_len;
    char node[255];
};

enum shard_post_kind { SHARD_POST_MSG, SHARD_POST_LANE_UP, SHARD_POST_LANE_DOWN, SHARD_POST_CONFIG, SHARD_POST_ADMIN };

struct admin_request;
struct shard_post {
    enum shard_post_kind kind;
    /* MSG: slices in msg borrow from bus_msg and arena. */
    struct peer from;
    struct pr_bus_msg *bus_msg;
    struct pr_arena arena;
    struct wire_msg msg;
    struct lane_facts lane;         /* LANE_* */
    struct pr_config *config;       /* CONFIG: a reference */
    struct admin_request *admin;    /* ADMIN: borrowed until completed */
};
void shard_post_free(struct shard_post *p);

enum bus_post_kind { BUS_POST_SEND, BUS_POST_STATE, BUS_POST_CONFIG, BUS_POST_FLUSH, BUS_POST_MEMBER };

/* One message out; several are linked in one BUS_POST_SEND. */
struct bus_out {
    struct pr_list link;
    struct peer to;
    struct pr_buf header, payload;
};
struct bus_post {
    enum bus_post_kind kind;
    struct pr_list out;            /* SEND: struct bus_out */
    struct wire_shard_state state; /* STATE */
    struct pr_config *config;      /* CONFIG: a reference */
    char *destination;             /* FLUSH: NULL for all; owned */
    uint32_t lane_id;              /* MEMBER: its record is committed, it may have slots */
};
struct bus_post *bus_post_new(enum bus_post_kind kind);
void bus_post_free(struct bus_post *p);

/* Encodes m for `to` and appends it to the SEND post. */
void bus_post_add(struct bus_post *p, const struct peer *to, const struct wire_msg *m);

#endif
