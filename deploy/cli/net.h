/* net.h - blocking sockets with a deadline, for the clients of the command line. Thread: any. */
#ifndef DEPLOY_CLI_NET_H
#define DEPLOY_CLI_NET_H

#include "common/base/buf.h"
#include "common/conf/config.h"

struct cli_conn {
    int fd;
    uint64_t deadline_ms; /* cli_now_ms */
};

/* PR_EUNAVAIL: nobody there (*reterr_text says why, static), PR_EDENIED, PR_ETIMEOUT. */
PR_MUST_USE int cli_connect(const struct pr_hostport *to, uint64_t deadline_ms, struct cli_conn *ret,
                            const char **reterr_text);
void cli_close(struct cli_conn *c);
PR_MUST_USE int cli_send(struct cli_conn *c, struct pr_slice bytes);
/* Appends what there is, at least one byte; PR_ECLOSED at the end. */
PR_MUST_USE int cli_receive(struct cli_conn *c, struct pr_buf *out);

/* A port of 127.0.0.1 that is free now: wanted, or any. 0 when there is none. */
uint16_t cli_free_port(uint16_t wanted);
/* Listening, non-blocking descriptor on a numeric address, or -1 with errno. */
int cli_listen(const struct pr_hostport *at);

#endif
