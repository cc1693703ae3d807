/* bus.c - a ZeroMQ socket in a loop.
 *
 * ZMQ_FD is edge-triggered: it becomes readable when something happens, and any call on the socket may consume that. A
 * receive that finds nothing has looked at everything, so after it (and only then) the descriptor can be relied upon until
 * our next call. Hence: when the descriptor is readable, receive until there is nothing; after a send, do the same in the
 * idle handle, which runs before the loop may sleep again, whatever phase of its turn the send was made in. After
 * TURN_MESSAGES the idle handle goes on in the next turn, so that other sockets have theirs.
 * ZMQ_EVENTS is not asked: it costs a system call each time and tells no more than an empty receive.
 *
 * Accepted: [peer] header [payload]. Anything else is dropped and counted. */
#include "common/net/bus.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/list.h"
#include "common/net/clock.h"
#include "common/net/unix_path.h"

enum {
    TURN_MESSAGES = 256,
    COPY_BELOW = 2048, /* copying less is cheaper than a shared block with its free function */
    FRAMES_MAX = 2,
    HANDLES = 2,
    RECONNECT_MIN_MS = 100,
    RECONNECT_SPREAD_MS = 400,
    RECONNECT_MAX_MS = 1000, /* a scheduler that is back is found within a second */
    HANDSHAKE_MS = 5000,
    HEARTBEAT_MS = 5000,
    HEARTBEAT_TIMEOUT_MS = 15000,
    HEARTBEAT_TTL_MS = 20000,
    BACKLOG = 1024,
    CLOSE_LINGER_MS = 2000,
};

struct pr_bus_ctx {
    void *zmq;
};

struct pr_bus_msg {
    zmq_msg_t peer, frames[FRAMES_MAX];
};

struct pr_bus {
    void *socket;
    bool router, draining, closing;
    uv_poll_t poll;
    uv_idle_t idle;
    unsigned handles;
    pr_bus_recv_fn on_msg;
    void *data;
    struct pr_bus_counts counts;
    void (*on_closed)(void *data);
    void *on_closed_data;
};

/* --- context --- */

struct pr_bus_ctx *pr_bus_ctx_new(unsigned io_threads)
{
    struct pr_bus_ctx *c = pr_new(struct pr_bus_ctx);
    c->zmq = zmq_ctx_new();
    pr_assert(c->zmq != NULL);
    int rc = zmq_ctx_set(c->zmq, ZMQ_IO_THREADS, (int)(io_threads == 0 ? 1 : io_threads));
    pr_assert(rc == 0);
    return c;
}

void pr_bus_ctx_free(struct pr_bus_ctx *c)
{
    if (c == NULL)
        return;
    while (zmq_ctx_term(c->zmq) != 0 && errno == EINTR)
        continue;
    pr_free(c);
}

/* --- messages --- */

static struct pr_slice frame_slice(const zmq_msg_t *m)
{
    /* zmq_msg_data has no const form; it does not change the message. */
    zmq_msg_t *unconst = (zmq_msg_t *)(uintptr_t)m;
    return pr_slice(zmq_msg_data(unconst), zmq_msg_size(m));
}

struct pr_slice pr_bus_msg_peer(const struct pr_bus_msg *m)
{
    return frame_slice(&m->peer);
}

struct pr_slice pr_bus_msg_header(const struct pr_bus_msg *m)
{
    return frame_slice(&m->frames[0]);
}

struct pr_slice pr_bus_msg_payload(const struct pr_bus_msg *m)
{
    return frame_slice(&m->frames[1]);
}

void pr_bus_msg_free(struct pr_bus_msg *m)
{
    if (m == NULL)
        return;
    (void)zmq_msg_close(&m->peer);
    for (size_t i = 0; i < FRAMES_MAX; i++)
        (void)zmq_msg_close(&m->frames[i]);
    pr_free(m);
}

static struct pr_bus_msg *new_msg(void)
{
    struct pr_bus_msg *m = pr_new(struct pr_bus_msg);
    (void)zmq_msg_init(&m->peer);
    for (size_t i = 0; i < FRAMES_MAX; i++)
        (void)zmq_msg_init(&m->frames[i]);
    return m;
}

/* --- receiving --- */

static bool receive_frame(struct pr_bus *b, zmq_msg_t *into)
{
    int rc;
    do
        rc = zmq_msg_recv(into, b->socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

/* The rest of a message with too many frames; all of it has arrived, ZeroMQ delivers messages whole. */
static void skip_frames(struct pr_bus *b)
{
    zmq_msg_t m;
    (void)zmq_msg_init(&m);
    while (receive_frame(b, &m) && zmq_msg_more(&m))
        continue;
    (void)zmq_msg_close(&m);
}

enum received { RECEIVED_NOTHING, RECEIVED_BAD, RECEIVED_GOOD };

static enum received receive_frames(struct pr_bus *b, struct pr_bus_msg **ret)
{
    zmq_msg_t first;
    (void)zmq_msg_init(&first);
    if (!receive_frame(b, &first)) {
        (void)zmq_msg_close(&first);
        return RECEIVED_NOTHING;
    }
    struct pr_bus_msg *m = *ret = new_msg();
    bool more = zmq_msg_more(&first) != 0;
    size_t n = b->router ? 0 : 1;
    (void)zmq_msg_move(b->router ? &m->peer : &m->frames[0], &first);
    for (; more && n < FRAMES_MAX; n++) {
        if (!receive_frame(b, &m->frames[n]))
            return RECEIVED_BAD;
        more = zmq_msg_more(&m->frames[n]) != 0;
    }
    if (more)
        skip_frames(b);
    bool bad = more || zmq_msg_size(&m->frames[0]) == 0 || zmq_msg_size(&m->peer) > PR_BUS_PEER_MAX;
    return bad ? RECEIVED_BAD : RECEIVED_GOOD;
}

/* False: there was nothing. */
static bool receive_one(struct pr_bus *b)
{
    struct pr_bus_msg *m = NULL;
    switch (receive_frames(b, &m)) {
    case RECEIVED_NOTHING:
        return false;
    case RECEIVED_BAD:
        b->counts.dropped++;
        pr_bus_msg_free(m);
        return true;
    case RECEIVED_GOOD:
        b->counts.received++;
        b->on_msg(b->data, b, m);
        return true;
    }
    pr_unreachable();
}

static void on_idle(uv_idle_t *h);

static void drain(struct pr_bus *b)
{
    pr_assert(!b->draining);
    b->draining = true;
    bool more = true;
    for (unsigned n = 0; more && !b->closing && n < TURN_MESSAGES; n++)
        more = receive_one(b);
    b->draining = false;
    if (b->closing)
        return;
    if (more)
        uv_idle_start(&b->idle, on_idle);
    else
        uv_idle_stop(&b->idle);
}

static void on_idle(uv_idle_t *h)
{
    drain(h->data);
}

static void on_poll(uv_poll_t *h, int status, int poll_events)
{
    (void)status;
    (void)poll_events;
    drain(h->data);
}

/* --- sending --- */

static void free_payload(void *bytes, void *hint)
{
    (void)hint;
    pr_free(bytes);
}

static void frame_of_slice(zmq_msg_t *m, struct pr_slice s)
{
    int rc = zmq_msg_init_size(m, s.len);
    pr_assert(rc == 0);
    if (s.len > 0)
        memcpy(zmq_msg_data(m), s.ptr, s.len);
}

/* Takes the buffer's memory. */
static void frame_of_buf(zmq_msg_t *m, struct pr_buf *b)
{
    if (b->len < COPY_BELOW) {
        frame_of_slice(m, pr_buf_slice(b));
        pr_buf_fini(b);
        return;
    }
    int rc = zmq_msg_init_data(m, b->ptr, b->len, free_payload, NULL);
    pr_assert(rc == 0);
    pr_buf_init(b);
}

/* Always consumes m. */
static int send_frame(struct pr_bus *b, zmq_msg_t *m, int flags)
{
    int rc;
    do
        rc = zmq_msg_send(m, b->socket, ZMQ_DONTWAIT | flags);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        (void)zmq_msg_close(m);
    return rc < 0 ? PR_EUNAVAIL : 0;
}

static int send_slice(struct pr_bus *b, struct pr_slice s, int flags)
{
    zmq_msg_t m;
    frame_of_slice(&m, s);
    return send_frame(b, &m, flags);
}

/* payload is consumed always; NULL: none. */
static int send_all(struct pr_bus *b, struct pr_slice peer, struct pr_slice header, zmq_msg_t *payload)
{
    pr_assert(header.len > 0);
    int rc = b->router ? send_slice(b, peer, ZMQ_SNDMORE) : 0;
    /* After the routing id the ROUTER takes every frame, whatever becomes of the peer. */
    if (rc == 0)
        rc = send_slice(b, header, payload == NULL ? 0 : ZMQ_SNDMORE);
    if (payload != NULL && rc == 0)
        rc = send_frame(b, payload, 0);
    else if (payload != NULL)
        (void)zmq_msg_close(payload);
    if (rc == 0)
        b->counts.sent++;
    if (!b->draining) /* else the drain ends with an empty receive anyway */
        uv_idle_start(&b->idle, on_idle);
    return rc;
}

int pr_bus_send(struct pr_bus *b, struct pr_slice peer, struct pr_slice header, struct pr_buf *payload)
{
    if (b->closing) {
        if (payload != NULL)
            pr_buf_fini(payload);
        return PR_ECLOSED;
    }
    if (payload == NULL || payload->len == 0) {
        if (payload != NULL)
            pr_buf_fini(payload);
        return send_all(b, peer, header, NULL);
    }
    zmq_msg_t m;
    frame_of_buf(&m, payload);
    return send_all(b, peer, header, &m);
}

int pr_bus_forward(struct pr_bus *b, struct pr_slice peer, struct pr_slice header, struct pr_bus_msg *m)
{
    int rc = PR_ECLOSED;
    zmq_msg_t payload;
    (void)zmq_msg_init(&payload);
    (void)zmq_msg_move(&payload, &m->frames[1]);
    bool empty = zmq_msg_size(&payload) == 0;
    if (!b->closing)
        rc = send_all(b, peer, header, empty ? NULL : &payload);
    if (b->closing || empty)
        (void)zmq_msg_close(&payload);
    pr_bus_msg_free(m); /* last: peer and header may be its own */
    return rc;
}

/* --- opening and closing --- */

struct option {
    int name, value;
};

static int set_options(void *socket, const struct option *o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (zmq_setsockopt(socket, o[i].name, &o[i].value, sizeof o[i].value) != 0)
            return PR_EIO;
    int64_t max = PR_BUS_MSG_MAX + 64 * 1024;
    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max, sizeof max) == 0 ? 0 : PR_EIO;
}

static int set_common(void *socket, const char *address)
{
    /* Different for each process, so that a restarted scheduler is not met by all at once. */
    int reconnect = RECONNECT_MIN_MS + (int)(pr_random_seed() % RECONNECT_SPREAD_MS);
    const struct option o[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_SNDHWM, 0},
        {ZMQ_RCVHWM, 0},
        {ZMQ_IPV6, 1},
        {ZMQ_BACKLOG, BACKLOG},
        {ZMQ_RECONNECT_IVL, reconnect},
        {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS},
        {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS},
    };
    /* Only to notice half-open TCP connections: ZeroMQ's thread answers for a process that hangs. */
    const struct option heartbeat[] = {
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS},
        {ZMQ_HEARTBEAT_TTL, HEARTBEAT_TTL_MS},
    };
    int rc = set_options(socket, o, PR_ARRAY_LEN(o));
    bool tcp = strncmp(address, "tcp:", 4) == 0;
    return rc != 0 || !tcp ? rc : set_options(socket, heartbeat, PR_ARRAY_LEN(heartbeat));
}

static int fail(void *socket, const char *what, const char *address, const char *why, char **reterr_text)
{
    struct pr_buf b;
    pr_buf_init(&b);
    pr_buf_printf(&b, "%s %s: %s", what, address, why);
    *reterr_text = pr_buf_steal(&b, NULL);
    if (socket != NULL)
        (void)zmq_close(socket);
    return PR_EIO;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct pr_bus *b = h->data;
    if (--b->handles > 0)
        return;
    int linger = CLOSE_LINGER_MS;
    (void)zmq_setsockopt(b->socket, ZMQ_LINGER, &linger, sizeof linger);
    (void)zmq_close(b->socket);
    if (b->on_closed != NULL)
        b->on_closed(b->on_closed_data);
    pr_free(b);
}

static struct pr_bus *attach(uv_loop_t *loop, void *socket, bool router, pr_bus_recv_fn on_msg, void *data)
{
    int fd;
    size_t size = sizeof fd;
    if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size) != 0)
        return NULL;
    struct pr_bus *b = pr_new(struct pr_bus);
    if (uv_poll_init(loop, &b->poll, fd) != 0) {
        pr_free(b);
        return NULL;
    }
    b->socket = socket;
    b->router = router;
    b->on_msg = on_msg;
    b->data = data;
    b->handles = HANDLES;
    uv_idle_init(loop, &b->idle);
    b->poll.data = b->idle.data = b;
    uv_poll_start(&b->poll, UV_READABLE, on_poll);
    uv_idle_start(&b->idle, on_idle); /* opening the socket may have consumed an edge already */
    return b;
}

int pr_bus_bind(struct pr_bus_ctx *c, uv_loop_t *loop, const char *address, pr_bus_recv_fn on_msg, void *data,
                struct pr_bus **ret, char **reterr_text)
{
    static const char ipc[] = "ipc://";
    const char *path = strncmp(address, ipc, sizeof ipc - 1) == 0 ? address + sizeof ipc - 1 : NULL;
    const char *why;
    if (path != NULL && pr_unix_path_prepare(path, &why) != 0)
        return fail(NULL, "cannot bind", address, why, reterr_text);
    void *socket = zmq_socket(c->zmq, ZMQ_ROUTER);
    if (socket == NULL)
        return fail(NULL, "cannot bind", address, zmq_strerror(errno), reterr_text);
    /* HANDOVER: a restarted peer takes its name over from the connection it left behind. */
    const struct option o[] = {{ZMQ_ROUTER_MANDATORY, 1}, {ZMQ_ROUTER_HANDOVER, 1}};
    if (set_common(socket, address) != 0 || set_options(socket, o, PR_ARRAY_LEN(o)) != 0 || zmq_bind(socket, address) != 0)
        return fail(socket, "cannot bind", address, zmq_strerror(errno), reterr_text);
    if (path != NULL && chmod(path, 0660) != 0)
        return fail(socket, "cannot set the mode of", address, strerror(errno), reterr_text);
    struct pr_bus *b = attach(loop, socket, true, on_msg, data);
    if (b == NULL)
        return fail(socket, "cannot watch", address, "no descriptor", reterr_text);
    *ret = b;
    return 0;
}

int pr_bus_connect(struct pr_bus_ctx *c, uv_loop_t *loop, const char *address, struct pr_slice identity,
                   pr_bus_recv_fn on_msg, void *data, struct pr_bus **ret, char **reterr_text)
{
    pr_assert(identity.len > 0 && identity.len <= PR_BUS_PEER_MAX && identity.ptr[0] != '\0');
    void *socket = zmq_socket(c->zmq, ZMQ_DEALER);
    if (socket == NULL)
        return fail(NULL, "cannot connect to", address, zmq_strerror(errno), reterr_text);
    /* IMMEDIATE: nothing is stored for a peer that is not there. */
    const struct option o[] = {{ZMQ_IMMEDIATE, 1}};
    if (set_common(socket, address) != 0 || set_options(socket, o, PR_ARRAY_LEN(o)) != 0 ||
        zmq_setsockopt(socket, ZMQ_ROUTING_ID, identity.ptr, identity.len) != 0 || zmq_connect(socket, address) != 0)
        return fail(socket, "cannot connect to", address, zmq_strerror(errno), reterr_text);
    struct pr_bus *b = attach(loop, socket, false, on_msg, data);
    if (b == NULL)
        return fail(socket, "cannot watch", address, "no descriptor", reterr_text);
    *ret = b;
    return 0;
}

void pr_bus_count(const struct pr_bus *b, struct pr_bus_counts *ret)
{
    *ret = b->counts;
}

bool pr_bus_endpoint(const struct pr_bus *b, char *out, size_t size)
{
    return zmq_getsockopt(b->socket, ZMQ_LAST_ENDPOINT, out, &size) == 0; /* handles no commands: keeps the edge */
}

void pr_bus_close(struct pr_bus *b, void (*on_closed)(void *data), void *data)
{
    if (b->closing)
        return;
    b->closing = true;
    b->on_closed = on_closed;
    b->on_closed_data = data;
    uv_close((uv_handle_t *)&b->poll, on_handle_closed);
    uv_close((uv_handle_t *)&b->idle, on_handle_closed);
}
