/* The two tables of the protocol: which state may follow which, and what each verb means in each state. A test prints the
 * second one and compares it with tests/unit/ingress/state_verb.golden. */
#include <stdio.h>

#include "common/base/assert.h"
#include "ingress/core/session_internal.h"

#define TO PR_SM_TO
enum { COMMANDS = 5 };

const struct pr_sm_state ing_states[ING_STATE_NR] = {
    [ING_GREETING] = {"greeting", TO(ING_START) | TO(ING_TLS) | TO(ING_CLOSED), PR_SM_INITIAL},
    [ING_START] = {"start", TO(ING_READY) | TO(ING_TLS) | TO(ING_SKIP) | TO(ING_CLOSED), 0},
    [ING_READY] = {"ready", TO(ING_READY) | TO(ING_MAIL) | TO(ING_TLS) | TO(ING_SKIP) | TO(ING_CLOSED), 0},
    [ING_MAIL] = {"mail", TO(ING_READY) | TO(ING_RCPT) | TO(ING_TLS) | TO(ING_SKIP) | TO(ING_CLOSED), 0},
    [ING_RCPT] = {"rcpt",
                  TO(ING_READY) | TO(ING_DATA) | TO(ING_CHUNK) | TO(ING_TLS) | TO(ING_SKIP) | TO(ING_CLOSED), 0},
    [ING_DATA] = {"data", TO(ING_READY) | TO(ING_COMMIT) | TO(ING_CLOSED), 0},
    [ING_BDAT] = {"bdat", TO(ING_READY) | TO(ING_CHUNK) | TO(ING_SKIP) | TO(ING_TLS) | TO(ING_CLOSED), 0},
    [ING_CHUNK] = {"chunk", TO(ING_READY) | TO(ING_BDAT) | TO(ING_COMMIT) | TO(ING_CLOSED), 0},
    [ING_SKIP] = {"skip", TO(ING_START) | TO(ING_READY) | TO(ING_MAIL) | TO(ING_CLOSED), 0},
    [ING_COMMIT] = {"commit", TO(ING_READY) | TO(ING_CLOSED), 0},
    [ING_TLS] = {"tls", TO(ING_GREETING) | TO(ING_START) | TO(ING_CLOSED), 0},
    [ING_CLOSED] = {"closed", 0, PR_SM_FINAL},
};

#define DO(verb) {.handler = ing_cmd_##verb, .name = #verb}
#define NO(id) {.refusal = ING_R_##id}

/* Rows of the states that take commands. */
static const struct ing_cell table[COMMANDS][MAIL_VERB_NR] = {
    /* start */
    {
        [MAIL_VERB_UNKNOWN] = NO(UNKNOWN_VERB), [MAIL_VERB_EHLO] = DO(ehlo), [MAIL_VERB_HELO] = DO(helo),
        [MAIL_VERB_LHLO] = NO(NOT_LMTP), [MAIL_VERB_MAIL] = NO(NEED_HELO), [MAIL_VERB_RCPT] = NO(NEED_HELO),
        [MAIL_VERB_DATA] = NO(NEED_HELO), [MAIL_VERB_BDAT] = DO(bdat_early), [MAIL_VERB_RSET] = DO(rset),
        [MAIL_VERB_NOOP] = DO(noop), [MAIL_VERB_QUIT] = DO(quit), [MAIL_VERB_VRFY] = DO(vrfy),
        [MAIL_VERB_EXPN] = NO(NO_EXPN), [MAIL_VERB_HELP] = DO(help), [MAIL_VERB_STARTTLS] = NO(NEED_EHLO),
        [MAIL_VERB_AUTH] = NO(NO_AUTH),
    },
    /* ready */
    {
        [MAIL_VERB_UNKNOWN] = NO(UNKNOWN_VERB), [MAIL_VERB_EHLO] = DO(ehlo), [MAIL_VERB_HELO] = DO(helo),
        [MAIL_VERB_LHLO] = NO(NOT_LMTP), [MAIL_VERB_MAIL] = DO(mail), [MAIL_VERB_RCPT] = NO(NEED_MAIL),
        [MAIL_VERB_DATA] = NO(NEED_MAIL), [MAIL_VERB_BDAT] = DO(bdat_early), [MAIL_VERB_RSET] = DO(rset),
        [MAIL_VERB_NOOP] = DO(noop), [MAIL_VERB_QUIT] = DO(quit), [MAIL_VERB_VRFY] = DO(vrfy),
        [MAIL_VERB_EXPN] = NO(NO_EXPN), [MAIL_VERB_HELP] = DO(help), [MAIL_VERB_STARTTLS] = DO(starttls),
        [MAIL_VERB_AUTH] = NO(NO_AUTH),
    },
    /* mail */
    {
        [MAIL_VERB_UNKNOWN] = NO(UNKNOWN_VERB), [MAIL_VERB_EHLO] = DO(ehlo), [MAIL_VERB_HELO] = DO(helo),
        [MAIL_VERB_LHLO] = NO(NOT_LMTP), [MAIL_VERB_MAIL] = NO(NESTED_MAIL), [MAIL_VERB_RCPT] = DO(rcpt),
        [MAIL_VERB_DATA] = DO(data), [MAIL_VERB_BDAT] = DO(bdat_early), [MAIL_VERB_RSET] = DO(rset),
        [MAIL_VERB_NOOP] = DO(noop), [MAIL_VERB_QUIT] = DO(quit), [MAIL_VERB_VRFY] = DO(vrfy),
        [MAIL_VERB_EXPN] = NO(NO_EXPN), [MAIL_VERB_HELP] = DO(help), [MAIL_VERB_STARTTLS] = DO(starttls),
        [MAIL_VERB_AUTH] = NO(NO_AUTH),
    },
    /* rcpt */
    {
        [MAIL_VERB_UNKNOWN] = NO(UNKNOWN_VERB), [MAIL_VERB_EHLO] = DO(ehlo), [MAIL_VERB_HELO] = DO(helo),
        [MAIL_VERB_LHLO] = NO(NOT_LMTP), [MAIL_VERB_MAIL] = NO(NESTED_MAIL), [MAIL_VERB_RCPT] = DO(rcpt),
        [MAIL_VERB_DATA] = DO(data), [MAIL_VERB_BDAT] = DO(bdat), [MAIL_VERB_RSET] = DO(rset),
        [MAIL_VERB_NOOP] = DO(noop), [MAIL_VERB_QUIT] = DO(quit), [MAIL_VERB_VRFY] = DO(vrfy),
        [MAIL_VERB_EXPN] = NO(NO_EXPN), [MAIL_VERB_HELP] = DO(help), [MAIL_VERB_STARTTLS] = DO(starttls),
        [MAIL_VERB_AUTH] = NO(NO_AUTH),
    },
    /* bdat */
    {
        [MAIL_VERB_UNKNOWN] = NO(UNKNOWN_VERB), [MAIL_VERB_EHLO] = DO(ehlo), [MAIL_VERB_HELO] = DO(helo),
        [MAIL_VERB_LHLO] = NO(NOT_LMTP), [MAIL_VERB_MAIL] = NO(IN_BDAT), [MAIL_VERB_RCPT] = NO(IN_BDAT),
        [MAIL_VERB_DATA] = NO(IN_BDAT), [MAIL_VERB_BDAT] = DO(bdat), [MAIL_VERB_RSET] = DO(rset),
        [MAIL_VERB_NOOP] = DO(noop), [MAIL_VERB_QUIT] = DO(quit), [MAIL_VERB_VRFY] = DO(vrfy),
        [MAIL_VERB_EXPN] = NO(NO_EXPN), [MAIL_VERB_HELP] = DO(help), [MAIL_VERB_STARTTLS] = DO(starttls),
        [MAIL_VERB_AUTH] = NO(NO_AUTH),
    },
};

static const enum ing_state rows[COMMANDS] = {ING_START, ING_READY, ING_MAIL, ING_RCPT, ING_BDAT};

static unsigned row_of(unsigned state)
{
    unsigned row = 0;
    while (row < COMMANDS && rows[row] != state)
        row++;
    return row;
}

bool ing_state_takes_commands(unsigned state)
{
    return row_of(state) < COMMANDS;
}

const struct ing_cell *ing_cell(enum ing_state state, enum mail_verb verb)
{
    unsigned row = row_of(state);
    pr_assert(row < COMMANDS && verb < MAIL_VERB_NR);
    return &table[row][verb];
}

static void print_cell(struct pr_buf *out, unsigned row, const char *text)
{
    pr_buf_printf(out, " %-*s", row + 1 < COMMANDS ? 11 : 0, text);
}

void ing_state_verb_print(struct pr_buf *out)
{
    pr_buf_printf(out, "%-10s", "verb");
    for (unsigned row = 0; row < COMMANDS; row++)
        print_cell(out, row, ing_states[rows[row]].name);
    pr_buf_char(out, '\n');
    for (unsigned verb = 0; verb < MAIL_VERB_NR; verb++) {
        pr_buf_printf(out, "%-10s", mail_verb_names[verb]);
        for (unsigned row = 0; row < COMMANDS; row++) {
            const struct ing_cell *c = &table[row][verb];
            const struct mail_reply *r = &ing_refusals[c->refusal].reply;
            char text[16];
            if (c->handler != NULL)
                (void)snprintf(text, sizeof text, "%s", c->name);
            else
                (void)snprintf(text, sizeof text, "%u %s", r->code, r->enhanced);
            print_cell(out, row, text);
        }
        pr_buf_char(out, '\n');
    }
}
