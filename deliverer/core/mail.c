#include "deliverer/core/mail.h"

#include "common/base/assert.h"
#include "common/mail/reply.h"

void dlv_mail_init(struct dlv_mail *m, const struct mail_envelope *e, const struct mail_group *g, struct pr_arena *arena)
{
    pr_assert(g->n_rcpts <= DLV_RCPTS_MAX);
    m->envelope = e;
    m->group = g;
    m->complete = false;
    m->content = (struct pr_slice){NULL, 0};
    m->size_bytes = e->size_bytes;
    m->arena = arena;
    m->results = pr_arena_zalloc(arena, g->n_rcpts * sizeof m->results[0]);
    m->scope = MAIL_SCOPE_RCPT;
    m->stage = MAIL_STAGE_DNS;
}

size_t dlv_mail_open_count(const struct dlv_mail *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->group->n_rcpts; i++)
        n += dlv_mail_open(m, i);
    return n;
}

struct dlv_verdict dlv_verdict_make(enum mail_stage stage, uint16_t code, struct pr_slice text)
{
    struct mail_verdict v = mail_classify(stage, code, text);
    struct pr_slice enhanced = pr_slice_head(text, code == 0 ? 0 : mail_enhanced_status(code, text));
    if (enhanced.len == 0)
        enhanced = pr_slice_str(v.enhanced);
    return (struct dlv_verdict){v.outcome, v.scope, stage, code, enhanced, text};
}

struct dlv_verdict dlv_verdict_own(enum mail_outcome outcome, enum mail_scope scope, enum mail_stage stage,
                                   const char *enhanced, const char *text)
{
    return (struct dlv_verdict){outcome, scope, stage, 0, pr_slice_str(enhanced), pr_slice_str(text)};
}

/* Cuts between characters, so that what was UTF-8 stays so. */
static struct pr_slice cut_text(struct pr_slice s, size_t max)
{
    if (s.len <= max)
        return s;
    while (max > 0 && ((unsigned char)s.ptr[max] & 0xc0) == 0x80)
        max--;
    return pr_slice_head(s, max);
}

struct pr_slice dlv_verdict_diagnostic(const struct dlv_verdict *v, struct pr_arena *arena)
{
    struct pr_slice text = cut_text(v->text, DLV_TEXT_MAX);
    size_t at = v->code == 0 ? 0 : 4;
    char *out = pr_arena_alloc(arena, at + text.len + 1);
    if (at > 0) {
        out[0] = (char)('0' + v->code / 100 % 10);
        out[1] = (char)('0' + v->code / 10 % 10);
        out[2] = (char)('0' + v->code % 10);
        out[3] = ' ';
    }
    for (size_t i = 0; i < text.len; i++)
        out[at + i] = text.ptr[i] == '\n' ? ' ' : text.ptr[i];
    return pr_slice(out, at + text.len);
}

void dlv_mail_decide(struct dlv_mail *m, size_t i, const struct dlv_verdict *v, struct pr_slice diagnostic)
{
    if (!dlv_mail_open(m, i))
        return;
    m->results[i] = (struct dlv_result){
        .decided = true,
        .outcome = v->outcome,
        .code = v->code,
        .enhanced = pr_arena_dup(m->arena, v->enhanced),
        .diagnostic = diagnostic,
    };
    if (v->scope >= m->scope) {
        m->scope = v->scope;
        m->stage = v->stage;
    }
}

void dlv_mail_decide_rest(struct dlv_mail *m, const struct dlv_verdict *v)
{
    struct pr_slice diagnostic = dlv_verdict_diagnostic(v, m->arena);
    for (size_t i = 0; i < m->group->n_rcpts; i++)
        dlv_mail_decide(m, i, v, diagnostic);
}
