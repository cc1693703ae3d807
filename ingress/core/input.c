/* Bytes to commands and content. One loop for every segmentation: it looks at the state, lets it consume what it can, and
 * stops when more is needed or when the state waits for somebody else. What is not consumed is kept.
 *
 * Only CRLF ends a command line; bare CR and LF are bytes of it, and make it a bad one. */
#include "ingress/core/session_internal.h"

/* ---- lines ---- */

/* Position behind the first CRLF of cur, or 0. Bytes are looked at once. */
static size_t find_line(struct ing_session *s)
{
    size_t at = s->searched;
    while (at < s->cur.len) {
        size_t n = pr_slice_find(pr_slice_from(s->cur, at), '\n');
        if (n == SIZE_MAX)
            break;
        at += n + 1;
        if (at >= 2 && s->cur.ptr[at - 2] == '\r')
            return at;
    }
    s->searched = s->cur.len;
    return 0;
}

static bool has_stray(struct pr_slice line)
{
    return pr_slice_find(line, '\r') != SIZE_MAX || pr_slice_find(line, '\n') != SIZE_MAX ||
           pr_slice_find(line, '\0') != SIZE_MAX;
}

static struct pr_slice strip_right(struct pr_slice line)
{
    while (line.len > 0 && (line.ptr[line.len - 1] == ' ' || line.ptr[line.len - 1] == '\t'))
        line.len--;
    return line;
}

static bool acceptable(struct ing_session *s, struct pr_slice line)
{
    if (has_stray(line))
        return false;
    /* They check their own arguments, where UTF-8 may stand. */
    if (s->verb == MAIL_VERB_MAIL || s->verb == MAIL_VERB_RCPT)
        return true;
    return mail_command_clean(strip_right(line), false);
}

static void run_command(struct ing_session *s, struct pr_slice line)
{
    struct pr_slice args;
    s->verb = mail_command_verb(line, &args);
    if (s->verb == MAIL_VERB_UNKNOWN && mail_command_foreign(line)) {
        ing_refuse_and_close(s, ing_stage_of(s), ING_R_FOREIGN, ING_CLOSE_REFUSED);
        return;
    }
    bool good = acceptable(s, line);
    if (!good && s->verb == MAIL_VERB_BDAT) {
        /* What follows is content of a length that we do not know. */
        ing_refuse_and_close(s, ING_AT_DATA, ING_R_BAD_BDAT_SIZE, ING_CLOSE_REFUSED);
        return;
    }
    if (!good) {
        ing_refuse(s, ing_stage_of(s), ING_R_BAD_BYTES, pr_slice("", 0));
        return;
    }
    const struct ing_cell *cell = ing_cell((enum ing_state)ing_state(s), s->verb);
    if (cell->handler != NULL)
        cell->handler(s, args);
    else
        ing_refuse(s, ing_stage_of(s), cell->refusal, pr_slice("", 0)); /* the line may hold credentials */
}

/* A ClientHello holds no line end for us to wait for. */
static bool is_client_hello(struct pr_slice in)
{
    unsigned char first = (unsigned char)in.ptr[0];
    return (first == 0x16 || first >= 0x80) && mail_command_foreign(pr_slice_head(in, 4));
}

/* No line end yet: judges what is there. A line of n octets with its CRLF is too long, or a flood, if n exceeds the limit. */
static void wait_for_line(struct ing_session *s)
{
    if (s->line_octets + s->cur.len >= s->o->flood_max) {
        ing_refuse_and_close(s, ing_stage_of(s), ING_R_FLOOD, ING_CLOSE_REFUSED);
        return;
    }
    if (!s->overlong && s->cur.len < s->o->command_line_max)
        return;
    /* Drop it, but for a CR that may be the first half of the line end. */
    size_t keep = s->cur.ptr[s->cur.len - 1] == '\r';
    s->overlong = true;
    s->line_octets += s->cur.len - keep;
    s->cur = pr_slice_from(s->cur, s->cur.len - keep);
    s->searched = 0;
}

static void take_line(struct ing_session *s, size_t end)
{
    struct pr_slice line = pr_slice_head(s->cur, end - 2);
    uint64_t octets = s->line_octets + end;
    bool too_long = s->overlong || octets > s->o->command_line_max;
    s->cur = pr_slice_from(s->cur, end);
    s->searched = 0;
    s->overlong = false;
    s->line_octets = 0;
    s->verb = MAIL_VERB_UNKNOWN;
    if (octets > s->o->flood_max) {
        ing_refuse_and_close(s, ing_stage_of(s), ING_R_FLOOD, ING_CLOSE_REFUSED);
        return;
    }
    if (too_long)
        ing_refuse(s, ing_stage_of(s), ING_R_LINE_TOO_LONG, pr_slice("", 0));
    else
        run_command(s, line);
    if (ing_state_takes_commands(ing_state(s)))
        s->until = pr_mono_add(s->now.mono, s->o->command_timeout_ms);
}

/* True when something was consumed. */
static bool next_command(struct ing_session *s)
{
    if (s->shutdown && ing_state(s) != ING_BDAT) {
        ing_refuse_and_close(s, ing_stage_of(s), ING_R_SHUTDOWN, ING_CLOSE_SHUTDOWN);
        return false;
    }
    if (s->cur.len == 0)
        return false;
    if (!s->overlong && is_client_hello(s->cur)) {
        ing_refuse_and_close(s, ing_stage_of(s), ING_R_FOREIGN, ING_CLOSE_REFUSED);
        return false;
    }
    size_t end = find_line(s);
    if (end == 0)
        wait_for_line(s);
    else
        take_line(s, end);
    return end != 0;
}

/* ---- the loop ---- */

static bool next(struct ing_session *s)
{
    switch ((enum ing_state)ing_state(s)) {
    case ING_GREETING:
        if (s->cur.len > 0 && s->o->refuse_early_talkers)
            ing_refuse_and_close(s, ING_AT_CONNECT, ING_R_EARLY_GREETING, ING_CLOSE_REFUSED);
        return false;
    case ING_START:
    case ING_READY:
    case ING_MAIL:
    case ING_RCPT:
    case ING_BDAT:
        return next_command(s);
    case ING_DATA:
        if (s->cur.len == 0)
            return false;
        ing_body_data(s);
        return true;
    case ING_CHUNK:
        if (s->cur.len == 0 && s->chunk_left > 0)
            return false;
        ing_body_chunk(s);
        return true;
    case ING_SKIP:
        if (s->cur.len == 0 && s->chunk_left > 0)
            return false;
        ing_body_skip(s);
        return true;
    case ING_TLS:
        ing_input_drop(s); /* in clear, in the middle of a handshake: never used */
        return false;
    case ING_COMMIT:
    case ING_CLOSED:
    case ING_STATE_NR:
        break;
    }
    return false;
}

static void keep_rest(struct ing_session *s)
{
    enum { KEEP_CAPACITY = 1024 };
    if (s->closing)
        s->cur.len = 0;
    if (!s->cur_is_in)
        pr_buf_add(&s->in, s->cur);
    else
        pr_buf_consume(&s->in, s->in.len - s->cur.len);
    if (s->in.len == 0 && s->in.cap > KEEP_CAPACITY)
        pr_buf_fini(&s->in);
    s->cur = pr_slice("", 0);
}

void ing_input_drop(struct ing_session *s)
{
    s->cur.len = 0;
    s->searched = 0;
    s->overlong = false;
    s->line_octets = 0;
}

void ing_input_run(struct ing_session *s, struct pr_slice bytes)
{
    s->cur_is_in = s->in.len > 0;
    if (s->cur_is_in)
        pr_buf_add(&s->in, bytes);
    s->cur = s->cur_is_in ? pr_buf_slice(&s->in) : bytes;
    while (!s->closing && s->block == 0 && next(s))
        continue;
    keep_rest(s);
}
