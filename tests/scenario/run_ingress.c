/* run_ingress.c - replays a text scenario against the SMTP session: once with each burst of the client in one piece, once
 * byte by byte. Both must behave the same, so a script with `@whole` (where the cut is the point) runs only once.
 *
 *   @key value        option, before the first other line: see options[]
 *   C: text           client line; CRLF is added. C> text: without CRLF. C*3: / C>*3: repeated. Escapes: \r \n \0 \t \\ \xHH
 *                     Client lines in a row are one burst.
 *   S: pattern        next reply line, exact but for `*`. S*3: three such lines. QUIET: nothing was said.
 *   T+30s T+500ms     time passes, deadlines fire
 *   TLS up|failed     end of the handshake (start_tls must have been asked for)
 *   EOF, SHUTDOWN
 *   CHECK s, OPEN s   what spool_check and spool_open answer from now on: ok memory full unavailable
 *   BUDGET n          bytes that reserve grants in all; APPEND stop|go: what spool_append answers; SPACE, LOST: events
 *   MSG from=<a> to=<b>,<c> [key=value]   the spool holds exactly this message, complete, unanswered; content is what BODY
 *                     lines say (escapes; joined; without our trace field). MSG none: nothing was committed since.
 *   TRACE pattern     our trace field, unfolded
 *   SPOOL ok ID|memory|full|unavailable|unknown|invalid   answers the commit
 *   ABORTED           the spool was told to forget
 *   STATE name, PAUSED, READING
 *   CLOSED reason */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "ingress/core/session.h"

struct run {
    const char *path;
    unsigned line;
    bool bytewise;
    struct pr_now now;
    struct ing_options o;
    struct ing_relay *relay;
    struct ing_peer peer;
    struct ing_session *s;
    bool whole_only, auto_commit;

    struct pr_buf burst, said, body, expected;
    struct pr_buf envelope, protocol;
    size_t said_at;
    bool tls_asked, closed, paused, committed, aborted, append_stop;
    unsigned auto_ids;
    enum ing_close_reason reason;
    enum ing_spool_status check, open;
    size_t budget;
};

static void fail(struct run *r, const char *what, const char *detail)
{
    (void)fprintf(stderr, "%s:%u: %s: %s (%s)\n", r->path, r->line, what, detail, r->bytewise ? "byte by byte" : "whole");
    if (r->said.len > r->said_at)
        (void)fprintf(stderr, "  said: %.*s\n", (int)(r->said.len - r->said_at), r->said.ptr + r->said_at);
    exit(1);
}

/* ---- the host ---- */

static void on_send(void *data, struct pr_slice bytes)
{
    pr_buf_add(&((struct run *)data)->said, bytes);
}

static void on_start_tls(void *data)
{
    ((struct run *)data)->tls_asked = true;
}

static void on_pause(void *data)
{
    ((struct run *)data)->paused = true;
}

static void on_resume(void *data)
{
    ((struct run *)data)->paused = false;
}

static void on_close(void *data, enum ing_close_reason reason)
{
    struct run *r = data;
    r->closed = true;
    r->reason = reason;
}

static bool on_reserve(void *data, size_t bytes)
{
    return bytes <= ((struct run *)data)->budget;
}

static enum ing_spool_status on_check(void *data, uint64_t size)
{
    (void)size;
    return ((struct run *)data)->check;
}

static enum ing_spool_status on_open(void *data, uint64_t size, struct pr_slice *ret_id)
{
    struct run *r = data;
    (void)size;
    *ret_id = PR_SLICE_LIT("TOKEN");
    pr_buf_clear(&r->body);
    return r->open;
}

static bool on_append(void *data, struct pr_buf *chunk)
{
    struct run *r = data;
    pr_buf_add(&r->body, pr_buf_slice(chunk));
    pr_buf_fini(chunk);
    return !r->append_stop;
}

static void on_commit(void *data, const struct mail_envelope *e, struct pr_buf *last)
{
    static const char *const bodies[] = {"7BIT", "8BITMIME", "BINARYMIME"};
    struct run *r = data;
    pr_buf_add(&r->body, pr_buf_slice(last));
    pr_buf_fini(last);
    pr_buf_clear(&r->envelope);
    pr_buf_printf(&r->envelope, "from=<%.*s> to=", PR_SLICE_ARG(e->sender));
    for (size_t g = 0; g < e->n_groups; g++)
        for (size_t i = 0; i < e->groups[g].n_rcpts; i++)
            pr_buf_printf(&r->envelope, "%s<%.*s>", g + i == 0 ? "" : ",", PR_SLICE_ARG(e->groups[g].rcpts[i].address));
    pr_buf_printf(&r->envelope, " body=%s with=%.*s", bodies[e->body], PR_SLICE_ARG(e->protocol));
    if (e->envid.len > 0)
        pr_buf_printf(&r->envelope, " envid=%.*s", PR_SLICE_ARG(e->envid));
    if (e->ret != MAIL_RET_DEFAULT)
        pr_buf_printf(&r->envelope, " ret=%s", e->ret == MAIL_RET_FULL ? "FULL" : "HDRS");
    const struct mail_rcpt *first = &e->groups[0].rcpts[0];
    if (first->notify != 0)
        pr_buf_printf(&r->envelope, " notify=%u", first->notify);
    if (first->orcpt.len > 0)
        pr_buf_printf(&r->envelope, " orcpt=%.*s", PR_SLICE_ARG(first->orcpt));
    if (e->size_bytes != r->body.len)
        fail(r, "envelope", "size_bytes is not the size of the content");
    r->committed = true;
}

static void on_abort(void *data)
{
    struct run *r = data;
    r->aborted = true;
    r->committed = false;
}

static const struct ing_ops ops = {
    .send = on_send, .start_tls = on_start_tls, .pause = on_pause, .resume = on_resume, .close = on_close,
    .reserve = on_reserve, .spool_check = on_check, .spool_open = on_open, .spool_append = on_append,
    .spool_commit = on_commit, .spool_abort = on_abort,
};

static void step(struct run *r, struct ing_event ev)
{
    ev.now = r->now;
    ing_session_step(r->s, &ev);
    if (r->auto_commit && r->committed) {
        char id[16];
        int n = snprintf(id, sizeof id, "Q%u", ++r->auto_ids);
        r->committed = false;
        step(r, (struct ing_event){.kind = ING_EV_COMMITTED, .status = ING_SPOOL_OK, .id = pr_slice(id, (size_t)n)});
    }
}

static void give(struct run *r, struct pr_slice bytes)
{
    size_t n = r->bytewise ? 1 : bytes.len;
    for (size_t at = 0; at < bytes.len; at += n)
        step(r, (struct ing_event){.kind = ING_EV_BYTES, .bytes = pr_slice(bytes.ptr + at, n)});
}

static void send_burst(struct run *r)
{
    if (r->burst.len > 0)
        give(r, pr_buf_slice(&r->burst));
    pr_buf_clear(&r->burst);
}

/* Fires deadlines in order up to the new time. */
static void pass_time(struct run *r, uint64_t ms)
{
    uint64_t end = r->now.mono.ms + ms;
    while (ing_session_deadline(r->s).ms <= end) {
        uint64_t due = ing_session_deadline(r->s).ms;
        if (due > r->now.mono.ms) {
            r->now.wall.ms += due - r->now.mono.ms;
            r->now.mono.ms = due;
        }
        step(r, (struct ing_event){.kind = ING_EV_DEADLINE});
        if (ing_session_deadline(r->s).ms == due)
            fail(r, "deadline", "fired and still due");
    }
    r->now.wall.ms += end - r->now.mono.ms;
    r->now.mono.ms = end;
}

/* ---- the script ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void unescape(struct run *r, const char *text, struct pr_buf *out)
{
    for (; *text != '\0'; text++) {
        if (*text != '\\') {
            pr_buf_char(out, *text);
            continue;
        }
        switch (*++text) {
        case 'r': pr_buf_char(out, '\r'); break;
        case 'n': pr_buf_char(out, '\n'); break;
        case 't': pr_buf_char(out, '\t'); break;
        case '0': pr_buf_char(out, '\0'); break;
        case '\\': pr_buf_char(out, '\\'); break;
        case 'x':
            if (hex(text[1]) < 0 || hex(text[2]) < 0)
                fail(r, "escape", text);
            pr_buf_char(out, (char)(hex(text[1]) * 16 + hex(text[2])));
            text += 2;
            break;
        default: fail(r, "escape", text);
        }
    }
}

static bool matches(const char *pattern, const char *text)
{
    if (*pattern == '\0')
        return *text == '\0';
    if (*pattern == '*')
        return matches(pattern + 1, text) || (*text != '\0' && matches(pattern, text + 1));
    return *pattern == *text && matches(pattern + 1, text + 1);
}

static const char *after(const char *line, const char *word)
{
    size_t n = strlen(word);
    return strncmp(line, word, n) == 0 ? line + n + (line[n] == ' ') : NULL;
}

static enum ing_spool_status status_of(struct run *r, const char *word)
{
    static const char *const names[ING_SPOOL_STATUS_NR] = {"ok", "memory", "full", "unavailable", "unknown", "invalid"};
    for (unsigned i = 0; i < ING_SPOOL_STATUS_NR; i++)
        if (strcmp(word, names[i]) == 0)
            return (enum ing_spool_status)i;
    fail(r, "no such status", word);
    return ING_SPOOL_OK;
}

static uint64_t number(struct run *r, const char *text)
{
    uint64_t v = 0;
    if (pr_parse_u64(pr_slice_str(text), UINT64_MAX, &v) != 0)
        fail(r, "not a number", text);
    return v;
}

static bool yes(const char *value)
{
    return strcmp(value, "yes") == 0;
}

static void set_ext(struct run *r, unsigned ext, const char *value)
{
    r->o.ext = yes(value) ? r->o.ext | ext : r->o.ext & ~ext;
}

static void set_option(struct run *r, const char *line)
{
    char key[32];
    size_t n = strcspn(line, " ");
    const char *v = line[n] == '\0' ? "" : line + n + 1;
    (void)snprintf(key, sizeof key, "%.*s", (int)n, line);
#define IS(name) (strcmp(key, name) == 0)
    if (IS("whole")) r->whole_only = true;
    else if (IS("auto")) r->auto_commit = true;
    else if (IS("trusted")) r->peer.trusted = yes(v);
    else if (IS("implicit_tls")) r->peer.implicit_tls = yes(v);
    else if (IS("over_limit")) r->peer.over_limit = yes(v);
    else if (IS("name")) r->peer.name = pr_slice_str(pr_strdup(v));
    else if (IS("starttls")) r->o.starttls = yes(v);
    else if (IS("vrfy")) r->o.vrfy = yes(v);
    else if (IS("pipelining")) r->o.pipelining = yes(v);
    else if (IS("early")) r->o.refuse_early_talkers = yes(v);
    else if (IS("chunking")) set_ext(r, MAIL_EXT_CHUNKING | MAIL_EXT_BINARYMIME, v);
    else if (IS("dsn")) set_ext(r, MAIL_EXT_DSN, v);
    else if (IS("smtputf8")) set_ext(r, MAIL_EXT_SMTPUTF8, v);
    else if (IS("normalize")) r->o.line_policy = yes(v) ? MAIL_DOT_NORMALIZE : MAIL_DOT_REJECT;
    else if (IS("size")) r->o.message_size_max = number(r, v);
    else if (IS("swallow")) r->o.swallow_max = number(r, v);
    else if (IS("header")) r->o.header_max = number(r, v);
    else if (IS("rcpts")) r->o.recipients_max = (unsigned)number(r, v);
    else if (IS("hops")) r->o.hops_max = (unsigned)number(r, v);
    else if (IS("line")) r->o.command_line_max = (unsigned)number(r, v);
    else if (IS("flood")) r->o.flood_max = (unsigned)number(r, v);
    else if (IS("chunk")) r->o.chunk_max = (unsigned)number(r, v);
    else if (IS("messages")) r->o.messages_max = (unsigned)number(r, v);
    else if (IS("greet_delay")) r->o.greet_delay_ms = number(r, v);
    else if (IS("error_delay")) r->o.error_delay_ms = number(r, v);
    else if (IS("own")) ing_relay_add(r->relay, pr_slice_str(v), ING_RELAY_OWN);
    else if (IS("relay")) ing_relay_add(r->relay, pr_slice_str(v), ING_RELAY_PARTNER);
    else if (IS("literal")) ing_relay_add_literal(r->relay, pr_slice_str(v));
    else fail(r, "no such option", line);
#undef IS
}

/* "*3: text" or ": text" -> 3 or 1 and the text. */
static unsigned repeat(struct run *r, const char *line, char end, const char **ret_text)
{
    unsigned n = 1;
    if (*line == '*') {
        char digits[16];
        size_t len = strspn(line + 1, "0123456789");
        (void)snprintf(digits, sizeof digits, "%.*s", (int)len, line + 1);
        n = (unsigned)number(r, digits);
        line += 1 + len;
    }
    if (*line != end)
        fail(r, "syntax", line);
    *ret_text = line + 1 + (line[1] == ' ');
    return n;
}

static void client(struct run *r, const char *line)
{
    const char *text;
    bool raw = line[1] == '>';
    unsigned n = raw && line[2] != '*' ? repeat(r, line + 1, '>', &text) : repeat(r, line + 1 + raw, ':', &text);
    for (; n > 0; n--) {
        unescape(r, text, &r->burst);
        if (!raw)
            pr_buf_append(&r->burst, "\r\n", 2);
    }
}

static void expect_line(struct run *r, const char *pattern)
{
    struct pr_slice rest = pr_slice_from(pr_buf_slice(&r->said), r->said_at);
    size_t end = pr_slice_find_slice(rest, PR_SLICE_LIT("\r\n"));
    if (end == SIZE_MAX)
        fail(r, "expected a reply", pattern);
    char *got = pr_strndup(rest.ptr, end);
    if (!matches(pattern, got))
        fail(r, "expected another reply", pattern);
    pr_free(got);
    r->said_at += end + 2;
}

/* Position behind our own trace field. */
static size_t trace_end(struct run *r)
{
    struct pr_slice b = pr_buf_slice(&r->body);
    size_t at = 0;
    if (!pr_slice_starts(b, PR_SLICE_LIT("Received: ")))
        fail(r, "message", "does not begin with our trace field");
    do {
        size_t n = pr_slice_find_slice(pr_slice_from(b, at), PR_SLICE_LIT("\r\n"));
        if (n == SIZE_MAX)
            fail(r, "message", "trace field does not end");
        at += n + 2;
    } while (at < b.len && b.ptr[at] == '\t');
    return at;
}

static void expect_message(struct run *r, const char *pattern)
{
    struct pr_slice content;
    if (strcmp(pattern, "none") == 0) {
        if (r->committed)
            fail(r, "a message was committed", pr_buf_cstr(&r->envelope));
        return;
    }
    if (!r->committed && !r->auto_commit)
        fail(r, "no message was committed", pattern);
    content = pr_slice_from(pr_buf_slice(&r->body), trace_end(r));
    if (!matches(pattern, pr_buf_cstr(&r->envelope)))
        fail(r, "another envelope", pr_buf_cstr(&r->envelope));
    if (!pr_slice_eq(content, pr_buf_slice(&r->expected))) {
        (void)fprintf(stderr, "content: %.*s\n", PR_SLICE_ARG(content));
        fail(r, "another content", pattern);
    }
    pr_buf_clear(&r->expected);
}

static void expect_trace(struct run *r, const char *pattern)
{
    struct pr_buf text = {NULL, 0, 0};
    size_t end = trace_end(r);
    for (size_t i = 0; i + 2 < end; i++)
        if (r->body.ptr[i] != '\r' && r->body.ptr[i] != '\n')
            pr_buf_char(&text, r->body.ptr[i] == '\t' ? ' ' : r->body.ptr[i]);
    if (!matches(pattern, pr_buf_cstr(&text)))
        fail(r, "another trace field", pr_buf_cstr(&text));
    pr_buf_fini(&text);
}

static void answer_commit(struct run *r, const char *text)
{
    struct ing_event ev = {.kind = ING_EV_COMMITTED};
    const char *id = after(text, "ok");
    if (!r->committed)
        fail(r, "nothing to answer", text);
    r->committed = false;
    ev.status = id != NULL ? ING_SPOOL_OK : status_of(r, text);
    ev.id = pr_slice_str(id);
    step(r, ev);
}

static void tls(struct run *r, const char *text)
{
    if (!r->tls_asked)
        fail(r, "no handshake was asked for", text);
    r->tls_asked = false;
    step(r, (struct ing_event){.kind = strcmp(text, "up") == 0 ? ING_EV_TLS_UP : ING_EV_TLS_FAILED,
                               .tls = PR_SLICE_LIT("TLSv1.3 with cipher TEST")});
}

static void time_line(struct run *r, const char *text)
{
    char digits[16];
    size_t n = strspn(text, "0123456789");
    (void)snprintf(digits, sizeof digits, "%.*s", (int)n, text);
    pass_time(r, number(r, digits) * (strcmp(text + n, "ms") == 0 ? 1 : 1000));
}

static void check(struct run *r, bool ok, const char *what, const char *detail)
{
    if (!ok)
        fail(r, what, detail);
}

/* Lines that say what happens to the session. */
static bool do_event(struct run *r, const char *line)
{
    const char *a;
    if ((a = after(line, "T+")) != NULL) time_line(r, a);
    else if ((a = after(line, "TLS")) != NULL) tls(r, a);
    else if (after(line, "EOF") != NULL) step(r, (struct ing_event){.kind = ING_EV_EOF});
    else if (after(line, "SHUTDOWN") != NULL) step(r, (struct ing_event){.kind = ING_EV_SHUTDOWN});
    else if (after(line, "SPACE") != NULL) step(r, (struct ing_event){.kind = ING_EV_SPACE});
    else if (after(line, "LOST") != NULL) step(r, (struct ing_event){.kind = ING_EV_SPOOL_LOST, .status = ING_SPOOL_UNAVAILABLE});
    else if ((a = after(line, "CHECK")) != NULL) r->check = status_of(r, a);
    else if ((a = after(line, "OPEN")) != NULL) r->open = status_of(r, a);
    else if ((a = after(line, "BUDGET")) != NULL) r->budget = number(r, a);
    else if ((a = after(line, "APPEND")) != NULL) r->append_stop = strcmp(a, "stop") == 0;
    else if ((a = after(line, "SPOOL")) != NULL) answer_commit(r, a);
    else if ((a = after(line, "BODY")) != NULL) unescape(r, a, &r->expected);
    else return false;
    return true;
}

/* Lines that say what must have come of it. */
static bool do_expectation(struct run *r, const char *line)
{
    const char *a;
    if (after(line, "QUIET") != NULL) check(r, r->said_at == r->said.len, "quiet", "something was said");
    else if ((a = after(line, "MSG")) != NULL) expect_message(r, a);
    else if ((a = after(line, "TRACE")) != NULL) expect_trace(r, a);
    else if (after(line, "ABORTED") != NULL) { check(r, r->aborted, "not aborted", line); r->aborted = false; }
    else if ((a = after(line, "STATE")) != NULL) check(r, strcmp(a, ing_session_state_name(r->s)) == 0, "state", ing_session_state_name(r->s));
    else if (after(line, "PAUSED") != NULL) check(r, r->paused, "reading", line);
    else if (after(line, "READING") != NULL) check(r, !r->paused, "paused", line);
    else if ((a = after(line, "CLOSED")) != NULL) check(r, r->closed && strcmp(a, ing_close_names[r->reason]) == 0, "closed", r->closed ? ing_close_names[r->reason] : "not closed");
    else return false;
    return true;
}

static void run_line(struct run *r, const char *line)
{
    const char *text;
    if (line[0] == '\0' || line[0] == '#')
        return;
    if (line[0] == '@') {
        set_option(r, line + 1);
        return;
    }
    if (r->s == NULL) {
        r->s = ing_session_new(&r->o, &ops, r, &r->peer);
        step(r, (struct ing_event){.kind = ING_EV_CONNECTED});
    }
    if (line[0] == 'C' && strchr(":>*", line[1]) != NULL && line[1] != '\0') {
        client(r, line);
        return;
    }
    send_burst(r);
    if (line[0] == 'S' && strchr(":*", line[1]) != NULL && line[1] != '\0') {
        for (unsigned n = repeat(r, line + 1, ':', &text); n > 0; n--)
            expect_line(r, text);
    } else if (!do_event(r, line) && !do_expectation(r, line)) {
        fail(r, "no such line", line);
    }
}

static void setup(struct run *r)
{
    ing_options_init(&r->o);
    r->relay = ing_relay_new(1);
    r->o.hostname = PR_SLICE_LIT("mx.ours.test");
    r->o.relay = r->relay;
    r->peer.address = PR_SLICE_LIT("192.0.2.7");
    r->budget = SIZE_MAX;
    r->now = (struct pr_now){.mono = {1000}, .wall = {1700000000000}};
}

static void finish(struct run *r)
{
    check(r, r->s != NULL, "empty", "no line but options");
    send_burst(r);
    check(r, r->said_at == r->said.len, "left over", "replies that nobody expected");
    check(r, !r->committed, "left over", "a message that nobody answered");
    check(r, r->expected.len == 0, "left over", "BODY without MSG");
    ing_session_free(r->s);
    ing_relay_free(r->relay);
    pr_free((void *)(uintptr_t)r->peer.name.ptr);
    struct pr_buf *bufs[] = {&r->burst, &r->said, &r->body, &r->expected, &r->envelope, &r->protocol};
    for (size_t i = 0; i < PR_ARRAY_LEN(bufs); i++)
        pr_buf_fini(bufs[i]);
}

/* Returns whether the other mode is due as well. */
static bool run_file(const char *path, bool bytewise)
{
    struct run r = {.path = path, .bytewise = bytewise};
    char line[8192];
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    setup(&r);
    while (fgets(line, sizeof line, f) != NULL) {
        r.line++;
        line[strcspn(line, "\n")] = '\0';
        run_line(&r, line);
    }
    (void)fclose(f);
    finish(&r);
    return !r.whole_only;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s FILE.scn\n", argv[0]);
        return 2;
    }
    if (run_file(argv[1], false))
        (void)run_file(argv[1], true);
    return 0;
}
