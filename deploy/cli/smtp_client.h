/* smtp_client.h - sends one message by SMTP over a blocking connection, for tests by hand. Thread: main. */
#ifndef DEPLOY_CLI_SMTP_CLIENT_H
#define DEPLOY_CLI_SMTP_CLIENT_H

#include "common/base/buf.h"
#include "common/conf/config.h"

struct smtp_job {
    const struct pr_hostport *to;
    const char *helo, *sender, *recipient;
    struct pr_slice content; /* any line ends */
    uint64_t deadline_ms;
    /* Each line of the dialogue, without CRLF; ours: we said it. May be NULL. */
    void (*line)(void *data, bool ours, struct pr_slice text);
    void *data;
};

struct smtp_result {
    unsigned code;      /* of the last reply; 0: none */
    struct pr_buf reply; /* the last reply: "250 2.0.0 Ok: queued as 1a2b" */
    const char *stage;  /* where it was: "connect", "MAIL", ..., "end of data" */
    bool accepted;      /* 250 to the end of data */
    const char *why;    /* when there was no reply: static text */
};

/* PR_OK whenever the server answered, also with a refusal; else PR_EUNAVAIL, PR_ETIMEOUT, PR_ECLOSED, PR_EPARSE.
 * *ret is always set; its reply is the caller's to free. */
PR_MUST_USE int smtp_send(const struct smtp_job *job, struct smtp_result *ret);
/* The queue id in a reply ("... queued as ID"); empty when there is none. */
struct pr_slice smtp_queue_id(struct pr_slice reply);

#endif
