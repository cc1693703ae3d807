/* sink.h - an SMTP server that accepts everything and delivers nothing: the session core of the ingress over a poll loop,
 * with a mailbox in memory. For trials; one thread.
 *
 * Owns: its connections. Borrows: the mailbox. */
#ifndef DEPLOY_CLI_SINK_H
#define DEPLOY_CLI_SINK_H

#include "deploy/cli/mailbox.h"

enum { SINK_CONNECTIONS_MAX = 1000 };

struct sink;
/* Takes the listening, non-blocking descriptor. */
struct sink *sink_new(int listen_fd, struct mailbox *mailbox);
void sink_free(struct sink *s);
/* Serves until stop_fd is readable. */
void sink_serve(struct sink *s, int stop_fd);

#endif
