/* Two cursors over one list of commands: what is sent, what is answered. Without PIPELINING one command at a time is under
 * way; with it a whole envelope is, and the next one behind a final dot (RFC 2920 3.1: DATA ends a group, the dot begins
 * one). */
#include "common/base/assert.h"
#include "deliverer/core/client_internal.h"

static bool of_txn(enum cmd_kind kind)
{
    return kind >= CMD_MAIL && kind <= CMD_BDAT_LAST;
}

void pipeline_push(struct dlv_client *c, enum cmd_kind kind, const struct txn *t, size_t slot)
{
    struct pipeline *p = &c->p;
    pr_assert(p->queued - p->answered < PIPELINE_MAX);
    p->list[p->queued % PIPELINE_MAX] =
        (struct cmd){(uint8_t)kind, t == NULL ? (uint8_t)0 : txn_index(c, t), (uint8_t)slot};
    p->queued++;
    if (t != NULL)
        c->txns[txn_index(c, t)].pending++;
}

void pipeline_push_sent(struct dlv_client *c, enum cmd_kind kind, const struct txn *t)
{
    pr_assert(c->p.sent == c->p.queued);
    if (pipeline_outstanding(&c->p) == 0)
        client_touch(c);
    pipeline_push(c, kind, t, 0);
    c->p.sent++;
}

void pipeline_answered(struct dlv_client *c)
{
    const struct cmd *cmd = pipeline_head(&c->p);
    pr_assert(c->p.answered < c->p.sent);
    if (of_txn((enum cmd_kind)cmd->kind))
        c->txns[cmd->txn].pending--;
    c->p.answered++;
    client_touch(c);
}

/* A refused envelope ends without its other commands when they have not been sent. */
static bool pointless(const struct dlv_client *c, const struct cmd *cmd)
{
    if (!of_txn((enum cmd_kind)cmd->kind))
        return false;
    const struct txn *t = &c->txns[cmd->txn];
    return t->refused || (cmd->kind == CMD_DATA && t->answered == t->n && t->accepted == 0);
}

static void drop_unsent(struct dlv_client *c)
{
    struct pipeline *p = &c->p;
    while (p->queued > p->sent) {
        const struct cmd *cmd = &p->list[--p->queued % PIPELINE_MAX];
        if (of_txn((enum cmd_kind)cmd->kind))
            c->txns[cmd->txn].pending--;
    }
}

static bool send_next(struct dlv_client *c)
{
    struct pipeline *p = &c->p;
    if (p->sent == p->queued || (pipeline_outstanding(p) > 0 && !cap(c, DLV_CAP_PIPELINING)))
        return false;
    const struct cmd *cmd = &p->list[p->sent % PIPELINE_MAX];
    if (pipeline_outstanding(p) == 0) {
        client_touch(c);
        if (pointless(c, cmd)) {
            drop_unsent(c);
            return true;
        }
    }
    p->sent++;
    enter(c, cmd);
    return true;
}

/* A transaction whose envelope is answered goes on to its content or ends. */
static bool move_front(struct dlv_client *c)
{
    struct txn *t = front_txn(c);
    if (t->state != TXN_ENVELOPE || t->pending > 0)
        return false;
    if (t->refused || t->accepted == 0)
        txn_finish(c, t, false);
    else
        txn_content(c, t);
    return true;
}

static bool say_goodbye(struct dlv_client *c)
{
    if (!c->quitting || pr_sm_state(&c->sm) != ST_READY || front_txn(c)->state != TXN_FREE)
        return false;
    pr_sm_move(&c->sm, ST_QUIT, "no more mails");
    pipeline_push(c, CMD_QUIT, NULL, 0);
    return true;
}

void pipeline_advance(struct dlv_client *c)
{
    bool moved = true;
    while (moved && !closed(c))
        moved = send_next(c) || move_front(c) || say_goodbye(c);
}
