/* worker_internal.h - the inside of a worker, shared by its files:
 *   worker.c (loop, turns, timers, stopping), settings.c (what follows from the configuration), link.c (the bus), jobs.c
 *   (from JOB to RESULT), attempt.c (from a destination to a connection), conn.c (a connection and its client), body.c
 *   (large contents), report.c (log lines and metrics). */
#ifndef DLV_WORKER_INTERNAL_H
#define DLV_WORKER_INTERNAL_H

#include "common/base/rng.h"
#include "common/base/timerq.h"
#include "common/net/clock.h"
#include "common/net/resolver.h"
#include "common/net/stream.h"
#include "common/wire/messages.h"
#include "deliverer/core/client.h"
#include "deliverer/core/lane.h"
#include "deliverer/shell/events.h"
#include "deliverer/shell/metrics.h"
#include "deliverer/shell/worker.h"

enum {
    DEAD_HOST_MS = 60000,
    STOP_RUNNING_MS = 35000, /* for running transactions, once asked to stop */
    STOP_ACKS_MS = 5000,     /* for acknowledgements after the last of them */
    PINNED_MAX = 64 * 1024 * 1024,
    OUTPUT_MAX = 512 * 1024,
    NAME_MAX_LEN = 256,
};

/* What follows from one configuration; connections keep theirs. */
struct settings {
    unsigned refs;
    struct pr_config *config;
    struct pr_tls_ctx *tls_any, *tls_verify; /* either may be NULL: not needed or not to be had */
    struct dlv_route_options route;
    struct dlv_endpoint *own;
    struct dlv_net *refused;
    struct dlv_client_options client;
    struct dlv_lane_options lane;
};

/* A received JOB message whose bodies are in use. */
struct batch {
    struct pr_bus_msg *msg;
    unsigned refs;
    size_t size;
};

struct job {
    struct dlv_job core; /* first */
    struct dlv_mail mail;
    struct mail_envelope envelope;
    struct mail_group group;
    struct pr_arena arena;
    struct batch *batch; /* holds the content, NULL when it is not inline or copied */
    struct conn *conn;
    uint64_t body_id;
    uint32_t n_chunks, attempt;
    uint32_t journal_slot;
    bool leftover; /* of an earlier process */
    pr_mono started;
    /* of the result */
    struct pr_slice remote, tls;
    uint32_t duration_ms;
};

/* A large content on its way from the queue to a connection: at most two chunks are asked for ahead. */
enum { FETCH_AHEAD = 2 };
struct fetch {
    struct job *job; /* NULL: none */
    struct pr_list link;
    bool wanted;      /* the client waits for `next` */
    bool feeding;     /* a step with a chunk is under way */
    uint32_t next;    /* chunk the client gets next */
    uint32_t asked;   /* chunks asked for so far: next <= asked <= next + FETCH_AHEAD */
    pr_mono asked_at; /* of the oldest one missing */
    unsigned tries;
    struct {
        struct pr_bus_msg *msg;
        struct pr_slice bytes;
    } ready[FETCH_AHEAD]; /* by seq % FETCH_AHEAD */
};

enum conn_phase { CONN_RESOLVING, CONN_CONNECTING, CONN_TALKING, CONN_OVER };

struct attempt;
struct conn {
    struct dlv_conn core; /* first */
    struct dlv_worker *w;
    struct pr_list link; /* in worker->conns, then in worker->graves */
    struct settings *set;
    enum conn_phase phase;
    struct attempt *attempt; /* until a client is ready */
    struct dlv_client *client;
    struct pr_stream *stream;
    unsigned streams; /* not closed yet, given up ones included */
    struct pr_timer timer;
    bool lmtp, verify;
    char remote[NAME_MAX_LEN + 64]; /* "mx.example [192.0.2.1]" */
    char host[NAME_MAX_LEN];        /* for SNI; empty for none */
    struct dlv_target target;
    bool has_target;
    char tls[16];
    struct fetch fetch;
};

struct dlv_worker {
    struct dlv_node *node;
    unsigned index, lanes;
    struct pr_worker *thread;
    uv_loop_t *loop;
    uv_prepare_t prepare;
    uv_idle_t idle;
    uv_timer_t timer;
    unsigned handles; /* of the three, not closed */
    struct settings *set;
    struct dlv_lane *lane;
    struct dlv_deadlist dead;
    struct pr_rng rng;
    struct pr_resolver *resolver;
    struct pr_timerq timers; /* of connections */
    pr_mono timer_due;
    struct pr_list conns, graves;
    struct pr_list fetches;
    struct pr_buf send;   /* of a step */
    struct pr_buf header; /* of a bus message */
    struct dlv_journal_file journal;
    size_t pinned;
    size_t leftovers; /* not acknowledged */
    pr_mono next_second;
    struct dlv_lane_counts told; /* to the gauges */
    /* bus */
    struct pr_bus *control, *bulk;
    unsigned buses;        /* not closed */
    unsigned session;
    bool registered;       /* HELLO_OK is in */
    bool link_broken;      /* a message was lost: begin anew */
    uint64_t node_boot;    /* of the scheduler */
    pr_mono heard, next_hello, next_bulk_hello, next_heartbeat, last_beat;
    uint64_t owed;         /* bit per shard: its inventory */
    /* stopping */
    bool stopping, closing, resolver_open;
    pr_mono stop_deadline, drained_at;
    /* for other threads */
    bool is_registered, is_settled, has_ended; /* atomic */
};

/* worker.c: something may be left to do before the loop sleeps. */
void worker_touch(struct dlv_worker *w);

/* settings.c */
PR_MUST_USE int settings_new(struct pr_config *c, unsigned lanes, struct pr_log *log, struct settings **ret);
struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s);

/* link.c */
PR_MUST_USE int link_open(struct dlv_worker *w);
void link_tick(struct dlv_worker *w, pr_mono now);
/* Results, inventories, credits, requests: whatever is due. */
void link_flush(struct dlv_worker *w, pr_mono now);
void link_send(struct dlv_worker *w, bool bulk, const struct wire_msg *m);
void link_close(struct dlv_worker *w);

/* jobs.c */
void jobs_received(struct dlv_worker *w, struct pr_bus_msg *msg, const struct wire_jobs *jobs);
void jobs_cancelled(struct dlv_worker *w, const struct wire_refs *refs);
void jobs_acknowledged(struct dlv_worker *w, const struct wire_refs *refs);
void jobs_left_over(struct dlv_worker *w);
void job_free(struct dlv_worker *w, struct job *job);
/* In doubt from now on: the journal says so before the bytes go. */
void job_dot(struct dlv_worker *w, struct job *job);
/* All recipients are decided. conn may be NULL. */
void job_report(struct dlv_worker *w, struct job *job, struct conn *conn);
/* Not decided: another connection, or decided by the verdict. */
void job_requeue(struct dlv_worker *w, struct job *job, struct conn *conn, bool free);
static inline struct job *job_of(struct dlv_job *core) { return pr_container_of(core, struct job, core); }
static inline struct job *job_of_mail(struct dlv_mail *mail) { return pr_container_of(mail, struct job, mail); }

/* attempt.c */
void conn_open(struct dlv_worker *w, struct dlv_dest *dest);
/* The session did not get as far as a mail: the next address, or the end. */
void attempt_session_failed(struct conn *c, enum dlv_close_reason reason, const struct dlv_verdict *v);
void attempt_free(struct conn *c);
void conn_on_connect(struct pr_stream *s, int status);
void attempt_timeout(struct conn *c);

/* conn.c */
extern const struct pr_stream_ops conn_stream_ops;
void conn_talk(struct conn *c);
void conn_give(struct conn *c, struct job *job);
void conn_quit(struct conn *c);
void conn_abort(struct conn *c);
void conn_event(struct conn *c, const struct dlv_client_event *ev);
void conn_timer(struct conn *c, pr_mono now);
/* Nothing more will come of it; it is freed when its streams are closed. */
void conn_over(struct conn *c);
void conns_bury(struct dlv_worker *w);
void conn_arm(struct conn *c, pr_mono due);

/* body.c */
void fetch_want(struct conn *c, struct job *job, uint32_t seq);
void fetch_stop(struct conn *c);
/* There may be room in the output now. */
void fetch_feed(struct conn *c);
void fetch_arrived(struct dlv_worker *w, struct pr_bus_msg *msg, const struct wire_body_chunk *chunk);
void fetch_tick(struct dlv_worker *w, pr_mono now);

/* report.c */
void report_delivery(struct dlv_worker *w, const struct job *job);
void report_connect(struct dlv_worker *w, enum dm_connect result);
void report_failed(struct conn *c, const struct dlv_verdict *v);
void report_gauges(struct dlv_worker *w);

#endif
