/* The bytes a server sends, into the client machine. The input: one byte of options, then turns of the server separated by
 * 0xff. Each input runs three times: each turn whole, in pieces, byte by byte. What the client says and decides must be the
 * same. In every run: every output line ends CRLF with no CR or LF inside, a mail is reported or given back exactly once,
 * and a delivered one was sent to its end. */
#include <stddef.h>
#include <stdint.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "deliverer/core/client.h"

enum { MAILS = 3, RCPTS = 3, STEPS_MAX = 20000 };

struct letter {
    struct mail_envelope envelope;
    struct mail_group group;
    struct mail_rcpt rcpts[RCPTS];
    struct dlv_mail mail;
    bool given, back, ended; /* to the client; by it; its content was sent to the end */
    unsigned requeued;
};

struct run {
    struct dlv_client *client;
    struct letter mails[MAILS];
    size_t next;
    struct pr_arena arena;
    struct pr_buf said;  /* all of it */
    struct pr_buf facts; /* actions and results as text, for comparison */
    pr_mono now;
    bool chunked, start_tls, closed;
    struct dlv_mail *wants;
    uint32_t want_seq;
    unsigned steps;
};

static const char content[] = "Subject: x\r\n\r\n.dot\r\nbare\nend";

static void letters(struct run *r, uint8_t options)
{
    static const char *const names[RCPTS] = {"a@dst.example", "b@dst.example", "c@dst.example"};
    r->chunked = (options & 8) != 0;
    for (size_t m = 0; m < MAILS; m++) {
        struct letter *l = &r->mails[m];
        for (size_t i = 0; i < RCPTS; i++)
            l->rcpts[i] = (struct mail_rcpt){.address = pr_slice_str(names[i]), .notify = MAIL_NOTIFY_FAILURE};
        l->envelope = (struct mail_envelope){
            .sender = PR_SLICE_LIT("s@src.example"), .envid = PR_SLICE_LIT("id+1"), .body = (enum mail_body_type)(m % 3)};
        l->group = (struct mail_group){.domain = PR_SLICE_LIT("dst.example"), .rcpts = l->rcpts, .n_rcpts = m == 1 ? 1 : RCPTS};
        dlv_mail_init(&l->mail, &l->envelope, &l->group, &r->arena);
        l->mail.complete = !(r->chunked && m != 1);
        l->mail.content = pr_slice(content, sizeof content - 1);
        l->mail.size_bytes = sizeof content - 1;
    }
}

static struct letter *letter_of(struct dlv_mail *m)
{
    return pr_container_of(m, struct letter, mail);
}

static void note_result(struct run *r, const struct letter *l)
{
    for (size_t i = 0; i < l->group.n_rcpts; i++) {
        const struct dlv_result *x = &l->mail.results[i];
        pr_assert(x->decided && !x->in_doubt);
        pr_assert(x->outcome != MAIL_OUTCOME_DELIVERED || (l->ended && x->code >= 200 && x->code <= 299));
        pr_assert(pr_slice_find(x->diagnostic, '\n') == SIZE_MAX && pr_slice_find(x->diagnostic, '\r') == SIZE_MAX);
        pr_buf_printf(&r->facts, " %d/%u/%.*s/%.*s", (int)x->outcome, x->code, PR_SLICE_ARG(x->enhanced),
                      PR_SLICE_ARG(x->diagnostic));
    }
}

static void on_action(struct run *r, const struct dlv_client_action *a)
{
    struct letter *l = a->mail == NULL ? NULL : letter_of(a->mail);
    /* Whether TLS is started is known at the end of the turn: bytes behind the 220 may still come. Ends of content of one
     * mail in one step are told once. */
    if (a->type != DLV_DO_START_TLS && a->type != DLV_DO_DOT)
        pr_buf_printf(&r->facts, "\n%d %td", (int)a->type, l == NULL ? -1 : l - r->mails);
    switch (a->type) {
    case DLV_DO_DOT:
        l->ended = true;
        break;
    case DLV_DO_START_TLS:
        r->start_tls = true;
        break;
    case DLV_DO_WANT_CHUNK:
        r->wants = a->mail;
        r->want_seq = a->seq;
        break;
    case DLV_DO_REPORT:
        pr_assert(l->given && !l->back);
        l->back = true;
        note_result(r, l);
        break;
    case DLV_DO_REQUEUE:
        pr_assert(l->given && !l->back);
        l->back = true;
        for (size_t i = 0; i < l->group.n_rcpts; i++)
            pr_assert(!l->mail.results[i].decided && !l->mail.results[i].in_doubt);
        break;
    case DLV_DO_READY:
        break;
    case DLV_DO_CLOSE:
        r->closed = true;
        pr_buf_printf(&r->facts, " %d", (int)dlv_client_close_reason(r->client));
        break;
    }
}

static void step(struct run *r, struct dlv_client_event ev)
{
    struct dlv_client_out out = {.send = &r->said};
    ev.now = r->now;
    pr_assert(++r->steps < STEPS_MAX);
    dlv_client_step(r->client, &ev, &out);
    for (size_t i = 0; i < out.n; i++)
        on_action(r, &out.actions[i]);
}

/* What a shell does between the turns of the server. */
static void between(struct run *r, bool tls_fails)
{
    if (r->start_tls && !r->closed) {
        r->start_tls = false;
        step(r, (struct dlv_client_event){.type = tls_fails ? DLV_EV_TLS_FAILED : DLV_EV_TLS_UP, .bytes = PR_SLICE_LIT("no")});
    }
    while (r->wants != NULL && !r->closed) {
        size_t at = r->want_seq * 10, left = sizeof content - 1 - at;
        struct dlv_client_event ev = {.type = DLV_EV_CHUNK, .mail = r->wants, .last = left <= 10};
        ev.bytes = pr_slice(content + at, ev.last ? left : 10);
        r->wants = NULL;
        step(r, ev);
    }
    while (r->next < MAILS && dlv_client_can_take(r->client)) {
        r->mails[r->next].given = true;
        step(r, (struct dlv_client_event){.type = DLV_EV_MAIL, .mail = &r->mails[r->next++].mail});
    }
}

static void turn(struct run *r, struct pr_slice bytes, size_t piece)
{
    while (bytes.len > 0 && !r->closed) {
        struct pr_slice part = pr_slice_head(bytes, piece);
        step(r, (struct dlv_client_event){.type = DLV_EV_BYTES, .bytes = part});
        bytes = pr_slice_from(bytes, part.len);
    }
}

/* Outside of BDAT, whose bytes are counted: no bare CR or LF. Binary content is not asked for by this content. */
static void check_lines(const struct pr_buf *said)
{
    for (size_t i = 0; i < said->len; i++) {
        pr_assert(said->ptr[i] != '\n' || (i > 0 && said->ptr[i - 1] == '\r'));
        pr_assert(said->ptr[i] != '\r' || (i + 1 < said->len && said->ptr[i + 1] == '\n'));
    }
}

static void play(struct run *r, uint8_t options, struct pr_slice script, size_t piece)
{
    struct dlv_client_options o = {.name = PR_SLICE_LIT("us.example"),
                                   .lmtp = (options & 1) != 0,
                                   .tls = (enum dlv_tls_mode)((options >> 1 & 3) % 3),
                                   .rcpts_max = options >> 4 & 3,
                                   .greeting_ms = 1, .command_ms = 1, .tls_ms = 1, .data_ms = 1, .block_ms = 1, .dot_ms = 1, .quit_ms = 1};
    letters(r, options);
    r->client = dlv_client_new(&o);
    step(r, (struct dlv_client_event){.type = DLV_EV_CONNECTED});
    while (script.len > 0 && !r->closed) {
        turn(r, pr_slice_cut(script, (char)0xff, &script), piece);
        between(r, (options & 64) != 0);
    }
    if (!r->closed && (options & 128) != 0)
        step(r, (struct dlv_client_event){.type = DLV_EV_QUIT});
    if (!r->closed)
        step(r, (struct dlv_client_event){.type = DLV_EV_EOF});
    pr_assert(r->closed && dlv_client_deadline(r->client).ms == UINT64_MAX);
    for (size_t i = 0; i < MAILS; i++)
        pr_assert(r->mails[i].given == r->mails[i].back);
    if (r->mails[2].given == false || r->chunked)
        check_lines(&r->said);
}

static void finish(struct run *r)
{
    dlv_client_free(r->client);
    pr_buf_fini(&r->said);
    pr_buf_fini(&r->facts);
    pr_arena_fini(&r->arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {SIZE_MAX, 7, 1};
    struct run runs[PR_ARRAY_LEN(pieces)] = {{.client = NULL}};
    if (size < 1 || size > 8192)
        return 0;
    for (size_t i = 0; i < PR_ARRAY_LEN(pieces); i++)
        play(&runs[i], data[0], pr_slice(data + 1, size - 1), pieces[i]);
    for (size_t i = 1; i < PR_ARRAY_LEN(pieces); i++) {
        pr_assert(pr_slice_eq(pr_buf_slice(&runs[0].said), pr_buf_slice(&runs[i].said)));
        pr_assert(pr_slice_eq(pr_buf_slice(&runs[0].facts), pr_buf_slice(&runs[i].facts)));
    }
    for (size_t i = 0; i < PR_ARRAY_LEN(pieces); i++)
        finish(&runs[i]);
    return 0;
}
