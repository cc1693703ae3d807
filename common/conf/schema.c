/* schema.c - every configuration item: from this table come parsing, defaults, ranges, JSON Schema, `config show`, reload
 * reports and the reference page.
 *
 * To add an item: a field in config.h and one line here, in the place where it belongs in the file. */
#include "common/conf/schema.h"

#include "common/base/alloc.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define SECOND 1000ULL
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

#define FIELD(f) .offset = offsetof(struct pr_config, f), .size = sizeof(((struct pr_config *)0)->f)
#define FIELDS(f, count)                                                                                            \
    .offset = offsetof(struct pr_config, f), .offset_n = offsetof(struct pr_config, count),                         \
    .size = sizeof(*((struct pr_config *)0)->f)
#define IN(type, f) .offset = offsetof(struct type, f), .size = sizeof(((struct type *)0)->f)
#define LISTENER(f) IN(pr_conf_listener, f)
#define LIMIT(f) IN(pr_conf_limit, f)
#define SECTION(p, text) {.path = p, .type = CONF_SECTION, .help = text}
#define MS .scale = 1000

static const struct conf_item items[] = {
    {.path = "hostname", .type = CONF_FQDN, FIELD(hostname), .def_help = "the machine's name", .reload = PR_CONF_RESTART,
     .help = "Our name in the banner, EHLO, Received fields and bounces. Must resolve to us, and back, for mail to be "
             "believed by others."},
    {.path = "data_dir", .type = CONF_PATH, FIELD(data_dir), .def = "/var/lib/postrider", .reload = PR_CONF_RESTART,
     .help = "The queue: Raft log and database. One scheduler at a time; never on a network file system."},
    {.path = "runtime_dir", .type = CONF_PATH, FIELD(runtime_dir), .def_help = "<data_dir>/run",
     .reload = PR_CONF_RESTART, .help = "Sockets of the bus and the admin API."},

    SECTION("log", "Log lines, on standard error: one fact per line, `event key=value`."),
    {.path = "log.level", .type = CONF_CHOICE, FIELD(log.level), .def = "info", .choices = "error|warn|info|debug",
     .help = "error: an operator must act; warn: degraded; info: the life of each message; debug: dialogues too."},
    {.path = "log.format", .type = CONF_CHOICE, FIELD(log.format), .def = "text", .choices = "text|json",
     .reload = PR_CONF_RESTART, .help = "text for people, json for collectors; the same fields."},

    SECTION("bus", "How the daemons reach the scheduler."),
    {.path = "bus.address", .type = CONF_ENDPOINT, FIELD(bus.address), .def_help = "ipc://<runtime_dir>/bus",
     .reload = PR_CONF_RESTART, .help = "Control messages: ipc://PATH on one machine, tcp://HOST:PORT between machines."},
    {.path = "bus.bulk_address", .type = CONF_ENDPOINT, FIELD(bus.bulk_address),
     .def_help = "ipc://<runtime_dir>/bus-bulk", .reload = PR_CONF_RESTART,
     .help = "Message bodies, so that they never queue ahead of control messages."},

    SECTION("admin", "Admin API and metrics of each daemon (HTTP). Whoever may connect may read and change the queue: a "
                     "unix socket is protected by its folder, a TCP address belongs on loopback."),
    {.path = "admin.scheduler", .type = CONF_HOSTPORT, FIELD(admin.scheduler),
     .def_help = "unix:<runtime_dir>/scheduler.http", .reload = PR_CONF_RESTART,
     .help = "Queue, destinations, metrics; what the postrider command talks to."},
    {.path = "admin.ingress", .type = CONF_HOSTPORT, FIELD(admin.ingress),
     .def_help = "unix:<runtime_dir>/ingress.http", .reload = PR_CONF_RESTART, .help = "Health and metrics of the ingress."},
    {.path = "admin.deliverer", .type = CONF_HOSTPORT, FIELD(admin.deliverer),
     .def_help = "unix:<runtime_dir>/deliverer.http", .reload = PR_CONF_RESTART,
     .help = "Health and metrics of the deliverer."},

    SECTION("ingress", "Receiving mail by SMTP."),
    {.path = "ingress.threads", .type = CONF_UINT, FIELD(ingress.threads), .def = "0", .max = 64,
     .reload = PR_CONF_RESTART, .help = "Loop threads; 0: as many as the machine has use for."},
    {.path = "ingress.listeners", .type = CONF_ENTRIES, FIELDS(ingress.listeners, ingress.n_listeners), .min = 1,
     .max = 16, .def_help = "smtp on 127.0.0.1:2525", .reload = PR_CONF_RESTART,
     .help = "Where we listen. Certificates and limits of a listener can change while it runs, addresses cannot."},
    {.path = "ingress.listeners[].name", .type = CONF_STRING, .flags = CONF_F_KEY, LISTENER(name), .max = 32,
     .reload = PR_CONF_RESTART, .help = "Names the listener in logs and metrics."},
    {.path = "ingress.listeners[].address", .type = CONF_HOSTPORT, .flags = CONF_F_REQUIRED, LISTENER(address),
     .reload = PR_CONF_RESTART, .help = "IP address and port. 0.0.0.0:2525 for all IPv4 addresses, [::]:2525 for IPv6."},
    {.path = "ingress.listeners[].implicit_tls", .type = CONF_BOOL, LISTENER(implicit_tls), .def = "false",
     .reload = PR_CONF_RESTART, .help = "TLS from the first byte (RFC 8314), as on port 465."},
    SECTION("ingress.listeners[].tls", "Certificate of the listener; without one STARTTLS is not offered."),
    {.path = "ingress.listeners[].tls.certificate", .type = CONF_PATH, LISTENER(tls_certificate),
     .help = "PEM file: our certificate, then the intermediate ones."},
    {.path = "ingress.listeners[].tls.key", .type = CONF_PATH, LISTENER(tls_key), .help = "PEM file: the private key."},
    {.path = "ingress.listeners[].max_connections", .type = CONF_UINT, LISTENER(max_connections), .def = "4096",
     .min = 1, .max = 1000000, .help = "More get 421 4.7.0."},
    {.path = "ingress.listeners[].max_connections_per_client", .type = CONF_UINT, LISTENER(max_connections_per_client),
     .def = "0", .max = 1000000, .help = "Of one client address; 0: half of max_connections."},
    {.path = "ingress.listeners[].line_endings", .type = CONF_ENUM, LISTENER(normalize_line_endings), .def = "reject",
     .choices = "reject|normalize",
     .help = "Bare CR, LF or NUL in a message: reject refuses the message (554 5.6.0), normalize repairs it. In neither "
             "case does anything but CR LF . CR LF end a message."},
    {.path = "ingress.listeners[].chunking", .type = CONF_BOOL, LISTENER(chunking), .def = "true",
     .help = "Offer CHUNKING and BINARYMIME (RFC 3030)."},
    {.path = "ingress.listeners[].smtputf8", .type = CONF_BOOL, LISTENER(smtputf8), .def = "true",
     .help = "Offer SMTPUTF8 (RFC 6531)."},
    {.path = "ingress.listeners[].dsn", .type = CONF_BOOL, LISTENER(dsn), .def = "true", .help = "Offer DSN (RFC 3461)."},
    {.path = "ingress.listeners[].pipelining", .type = CONF_BOOL, LISTENER(pipelining), .def = "true",
     .help = "Offer PIPELINING (RFC 2920)."},

    {.path = "ingress.trusted_networks", .type = CONF_CIDR, .flags = CONF_F_LIST,
     FIELDS(ingress.trusted_networks, ingress.n_trusted_networks), .def = "",
     .help = "Clients that may send to any domain (Postfix: mynetworks). Nobody by default, not even this machine: list "
             "the hosts that send their mail through us."},
    {.path = "ingress.own_domains", .type = CONF_DOMAIN, .flags = CONF_F_LIST,
     FIELDS(ingress.own_domains, ingress.n_own_domains), .def = "",
     .help = "Domains whose mail is for us (Postfix: mydestination): accepted from anyone."},
    {.path = "ingress.relay_domains", .type = CONF_DOMAIN, .flags = CONF_F_LIST,
     FIELDS(ingress.relay_domains, ingress.n_relay_domains), .def = "",
     .help = "Domains that we accept from anyone and pass on (Postfix: relay_domains)."},
    {.path = "ingress.banner", .type = CONF_STRING, FIELD(ingress.banner), .max = 400,
     .def_help = "<hostname> ESMTP Postrider", .help = "Text of the 220 greeting. Begins with our name (RFC 5321 4.2)."},
    {.path = "ingress.vrfy", .type = CONF_BOOL, FIELD(ingress.vrfy), .def = "true",
     .help = "VRFY: true answers 252 without saying anything, false answers 502."},
    {.path = "ingress.min_rate", .type = CONF_BYTE_RATE, FIELD(ingress.min_rate_bytes_per_s), .def = "500B/s",
     .max = MIB(1024), .help = "A client that sends a message slower than this loses its connection; 0: no limit."},

    SECTION("ingress.limits", "What a client may send."),
    {.path = "ingress.limits.message_size", .type = CONF_SIZE, FIELD(ingress.message_size_max), .def = "25MiB",
     .min = KIB(64), .max = GIB(1), .help = "Largest message; announced with SIZE (552 5.3.4)."},
    {.path = "ingress.limits.memory", .type = CONF_SIZE, FIELD(ingress.memory_bytes), .def = "128MiB", .min = MIB(4),
     .max = GIB(1024), .help = "For message bodies on their way to the queue, all clients together; beyond it 452 4.3.1."},
    {.path = "ingress.limits.recipients", .type = CONF_UINT, FIELD(ingress.recipients_max), .def = "1000", .min = 100,
     .max = 100000, .help = "In one transaction (452 4.5.3). RFC 5321 asks for 100 at least."},
    {.path = "ingress.limits.command_line", .type = CONF_SIZE, FIELD(ingress.command_line_max), .def = "4KiB", .min = 512,
     .max = KIB(64), .help = "Longest command line with its CR LF (500 5.5.2)."},
    {.path = "ingress.limits.header_field", .type = CONF_SIZE, FIELD(ingress.header_max), .def = "100KiB", .min = 1000,
     .max = MIB(1), .help = "Longest header field, continuation lines included (552 5.3.4)."},
    {.path = "ingress.limits.hops", .type = CONF_UINT, FIELD(ingress.hops_max), .def = "100", .min = 10, .max = 1000,
     .help = "Received fields in a message; more is a mail loop (554 5.4.6)."},
    {.path = "ingress.limits.soft_errors", .type = CONF_UINT, FIELD(ingress.errors_soft), .def = "10", .min = 1,
     .max = 10000, .help = "Errors in a session before replies are delayed."},
    {.path = "ingress.limits.hard_errors", .type = CONF_UINT, FIELD(ingress.errors_hard), .def = "20", .min = 1,
     .max = 10000, .help = "Errors in a session before it is closed with 421 4.7.0."},
    {.path = "ingress.limits.harmless_commands", .type = CONF_UINT, FIELD(ingress.harmless_max), .def = "100", .min = 1,
     .max = 100000, .help = "NOOP, RSET, VRFY and the like without mail in between (421 4.7.0)."},
    {.path = "ingress.limits.messages_per_connection", .type = CONF_UINT, FIELD(ingress.messages_per_connection_max),
     .def = "0", .max = 1000000000, .help = "Then 421 4.7.0; 0: unlimited."},

    SECTION("ingress.timeouts", "How long a client may stay silent, or the queue."),
    {.path = "ingress.timeouts.command", .type = CONF_DURATION, FIELD(ingress.command_timeout_ms), .def = "5m", MS,
     .min = 100, .max = HOUR, .help = "For a whole command line (RFC 5321 4.5.3.2.7)."},
    {.path = "ingress.timeouts.data", .type = CONF_DURATION, FIELD(ingress.data_timeout_ms), .def = "5m", MS, .min = 100,
     .max = HOUR, .help = "Between two pieces of a message; min_rate ends a trickle earlier."},
    {.path = "ingress.timeouts.tls", .type = CONF_DURATION, FIELD(ingress.tls_timeout_ms), .def = "30s", MS, .min = 100,
     .max = 10 * MINUTE, .help = "For a TLS handshake."},
    {.path = "ingress.timeouts.commit", .type = CONF_DURATION, FIELD(ingress.commit_timeout_ms), .def = "30s", MS,
     .min = 100, .max = 10 * MINUTE, .help = "For the queue to store a message; beyond it the client gets 451 4.3.0."},

    SECTION("queue", "Storing and scheduling."),
    {.path = "queue.shards", .type = CONF_UINT, FIELD(queue.shards), .def = "4", .min = 1, .max = 64,
     .reload = PR_CONF_RESTART, .help = "Independent parts of the queue, each with a log and a database. Fixed at the "
                                        "first start."},
    {.path = "queue.lifetime", .type = CONF_DURATION, FIELD(queue.lifetime_ms), .def = "5d", MS, .min = SECOND,
     .max = 100 * DAY, .help = "A message not delivered by then is returned (Postfix: maximal_queue_lifetime)."},
    {.path = "queue.bounce_lifetime", .type = CONF_DURATION, FIELD(queue.bounce_lifetime_ms), .def = "5d", MS,
     .min = SECOND, .max = 100 * DAY, .help = "The same for mail with the null sender, which is then dropped."},
    {.path = "queue.delay_warning", .type = CONF_DURATION, FIELD(queue.delay_warning_ms), .def = "4h", MS,
     .max = 100 * DAY, .help = "The sender is told once when a message waits this long; 0: never."},
    {.path = "queue.retry", .type = CONF_DURATION, .flags = CONF_F_LIST, FIELDS(queue.retry_ms, queue.n_retry),
     .def = "5m, 10m, 20m, 40m, 1h, 1h, 2h, 4h", MS, .min = 100, .max = 30 * DAY,
     .help = "Pauses between the attempts for a message; the last one repeats."},
    {.path = "queue.retry_jitter", .type = CONF_PERCENT, FIELD(queue.retry_jitter_percent), .def = "25%", .max = 90,
     .help = "Each pause is varied by up to this much, so that mail which failed together does not come back together."},
    {.path = "queue.hold_time", .type = CONF_DURATION, FIELD(queue.hold_time_ms), .def = "15m", MS, .min = SECOND,
     .max = DAY, .help = "A message given to a deliverer that went silent is given to another after this time. Must be "
                         "longer than the longest transaction, or mail is sent twice."},
    SECTION("queue.free_space", "Free space on the volume of data_dir."),
    {.path = "queue.free_space.low", .type = CONF_SIZE, FIELD(queue.free_space_low), .def = "1GiB", .min = MIB(1),
     .max = GIB(10240), .help = "Below it new mail is refused (452 4.3.1); delivery goes on."},
    {.path = "queue.free_space.floor", .type = CONF_SIZE, FIELD(queue.free_space_floor), .def = "256MiB", .min = MIB(1),
     .max = GIB(10240), .help = "Below it the scheduler stops cleanly, before a write fails."},
    {.path = "queue.memtable", .type = CONF_SIZE, FIELD(queue.memtable_bytes), .def = "128MiB", .min = MIB(8),
     .max = GIB(64), .reload = PR_CONF_RESTART, .help = "Write buffers of the databases, all shards together."},
    {.path = "queue.cache", .type = CONF_SIZE, FIELD(queue.cache_bytes), .def = "64MiB", .min = MIB(8), .max = GIB(1024),
     .reload = PR_CONF_RESTART, .help = "Read cache of the databases, all shards together."},
    {.path = "queue.snapshot", .type = CONF_SIZE, FIELD(queue.snapshot_bytes), .def = "32MiB", .min = MIB(1),
     .max = GIB(1), .reload = PR_CONF_RESTART,
     .help = "Bytes applied to a shard before its log is cut; the log is replayed from there after a crash."},
    {.path = "queue.trailing", .type = CONF_SIZE, FIELD(queue.trailing_bytes), .def = "8MiB", .min = MIB(1),
     .max = GIB(1), .reload = PR_CONF_RESTART,
     .help = "Log kept in a shard behind a cut, for members that lag. It is held in memory too."},
    {.path = "queue.commit_in_flight", .type = CONF_UINT, FIELD(queue.commit_in_flight), .def = "4", .min = 1, .max = 32,
     .help = "Writes of a shard under way at a time."},

    SECTION("delivery", "Sending mail."),
    {.path = "delivery.threads", .type = CONF_UINT, FIELD(delivery.threads), .def = "0", .max = 64,
     .reload = PR_CONF_RESTART, .help = "Loop threads; 0: as many as the machine has use for."},
    {.path = "delivery.ehlo", .type = CONF_FQDN, FIELD(delivery.ehlo), .def_help = "hostname",
     .help = "Our name in EHLO, when another than hostname."},
    {.path = "delivery.smtp_port", .type = CONF_UINT, FIELD(delivery.smtp_port), .def = "25", .min = 1, .max = 65535,
     .help = "Port of mail exchangers."},
    {.path = "delivery.ipv4", .type = CONF_BOOL, FIELD(delivery.ipv4), .def = "true", .help = "Connect over IPv4."},
    {.path = "delivery.ipv6", .type = CONF_BOOL, FIELD(delivery.ipv6), .def = "true", .help = "Connect over IPv6."},
    {.path = "delivery.tls", .type = CONF_ENUM, FIELD(delivery.tls), .def = "opportunistic",
     .choices = "none|opportunistic|required|verified",
     .help = "none: never; opportunistic: when offered, any certificate, else in clear; required: no mail in clear; "
             "verified: and the certificate must be right."},
    {.path = "delivery.tls_ca_file", .type = CONF_PATH, FIELD(delivery.tls_ca_file), .def_help = "the system's",
     .help = "PEM file with the certificate authorities to believe."},
    {.path = "delivery.connections", .type = CONF_UINT, FIELD(delivery.connections_max), .def = "500", .min = 1,
     .max = 100000, .help = "Outgoing connections of this deliverer."},
    {.path = "delivery.refused_networks", .type = CONF_CIDR, .flags = CONF_F_LIST,
     FIELDS(delivery.refused_networks, delivery.n_refused_networks),
     .def = "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4, 240.0.0.0/4, ::/128, ::1/128, fe80::/10, ff00::/8",
     .help = "Never connect there because DNS says so. Next hops written in routes may be there."},
    SECTION("delivery.dns", "Looking up mail exchangers and addresses."),
    {.path = "delivery.dns.servers", .type = CONF_SERVER, .flags = CONF_F_LIST,
     FIELDS(delivery.dns_servers, delivery.n_dns_servers), .def = "", .def_help = "/etc/resolv.conf",
     .reload = PR_CONF_RESTART, .help = "Name servers: address or address:port."},
    {.path = "delivery.dns.ttl_min", .type = CONF_DURATION, FIELD(delivery.dns_ttl_min_ms), .def = "5s", MS, .max = HOUR,
     .help = "Answers are kept this long at least."},
    {.path = "delivery.dns.ttl_max", .type = CONF_DURATION, FIELD(delivery.dns_ttl_max_ms), .def = "1d", MS,
     .min = SECOND, .max = 7 * DAY, .help = "Answers are kept this long at most."},
    {.path = "delivery.dns.negative_ttl_max", .type = CONF_DURATION, FIELD(delivery.dns_negative_ttl_max_ms),
     .def = "5m", MS, .min = SECOND, .max = DAY, .help = "The absence of a name or record is kept this long at most."},
    SECTION("delivery.timeouts", "Waiting for remote servers (RFC 5321 4.5.3.2)."),
    {.path = "delivery.timeouts.connect", .type = CONF_DURATION, FIELD(delivery.connect_timeout_ms), .def = "30s", MS,
     .min = 100, .max = HOUR, .help = "For a connection."},
    {.path = "delivery.timeouts.greeting", .type = CONF_DURATION, FIELD(delivery.greeting_timeout_ms), .def = "5m", MS,
     .min = 100, .max = HOUR, .help = "For the 220 greeting."},
    {.path = "delivery.timeouts.command", .type = CONF_DURATION, FIELD(delivery.command_timeout_ms), .def = "5m", MS,
     .min = 100, .max = HOUR, .help = "For the reply to EHLO, STARTTLS, MAIL, RCPT."},
    {.path = "delivery.timeouts.data", .type = CONF_DURATION, FIELD(delivery.data_timeout_ms), .def = "2m", MS,
     .min = 100, .max = HOUR, .help = "For the 354 after DATA."},
    {.path = "delivery.timeouts.block", .type = CONF_DURATION, FIELD(delivery.block_timeout_ms), .def = "3m", MS,
     .min = 100, .max = HOUR, .help = "For the remote to take the next piece of a message."},
    {.path = "delivery.timeouts.dot", .type = CONF_DURATION, FIELD(delivery.dot_timeout_ms), .def = "10m", MS,
     .min = 100, .max = HOUR, .help = "For the reply to the end of a message. Shorter means duplicates."},
    {.path = "delivery.timeouts.idle", .type = CONF_DURATION, FIELD(delivery.idle_timeout_ms), .def = "5s", MS,
     .max = 10 * MINUTE, .help = "A connection without work is kept this long for the next message; 0: not at all."},
    {.path = "delivery.timeouts.quit", .type = CONF_DURATION, FIELD(delivery.quit_timeout_ms), .def = "20s", MS,
     .min = 100, .max = HOUR, .help = "For the reply to QUIT."},

    {.path = "routes", .type = CONF_ENTRIES, FIELDS(routes, n_routes), .max = 20000,
     .help = "Where mail for a domain goes, when not to its mail exchangers (Postfix: transport_maps, relayhost). The "
             "most specific entry counts: the domain, then .domain above it, then \"*\"."},
    {.path = "routes[].domain", .type = CONF_PATTERN, .flags = CONF_F_KEY, IN(pr_conf_route, domain),
     .help = "example.com, .example.com for all below it, or \"*\" for all others."},
    {.path = "routes[].via", .type = CONF_ROUTE, .flags = CONF_F_REQUIRED, .offset = 0,
     .size = sizeof(struct pr_conf_route),
     .help = "mx: its mail exchangers; [host]:port: that host; host:port: the mail exchangers of host; "
             "lmtp:[host]:port or lmtp:unix:/path: a mailbox server (RFC 2033)."},

    {.path = "limits", .type = CONF_ENTRIES, FIELDS(limits, n_limits), .max = 20000,
     .help = "Limits of a destination, for the whole cluster. The most specific entry counts; what it leaves out comes "
             "from \"*\"."},
    {.path = "limits[].destination", .type = CONF_DEST, .flags = CONF_F_KEY, LIMIT(destination),
     .help = "Domain, .domain for all below it, \"*\" for all others, or a next hop as written in routes."},
    {.path = "limits[].connections", .type = CONF_UINT, LIMIT(connections), .def = "20", .min = 1, .max = 10000,
     .help = "At a time."},
    {.path = "limits[].messages_per_connection", .type = CONF_UINT, LIMIT(messages_per_connection), .def = "100",
     .min = 1, .max = 1000000, .help = "Then a new connection is made."},
    {.path = "limits[].recipients_per_message", .type = CONF_UINT, LIMIT(recipients_per_message), .def = "100", .min = 1,
     .max = 100, .help = "A message with more is sent in several transactions."},
    {.path = "limits[].rate", .type = CONF_RATE, LIMIT(rate), .def = "unlimited", .help = "Messages in a time."},
};

const struct conf_schema conf_schema = {items, PR_ARRAY_LEN(items)};

const char *conf_item_key(const struct conf_item *item)
{
    const char *dot = strrchr(item->path, '.');
    return dot == NULL ? item->path : dot + 1;
}

bool conf_item_is_child(const struct conf_item *item, const struct conf_item *parent)
{
    struct pr_slice path = pr_slice_str(item->path);
    if (parent != NULL) {
        struct pr_slice prefix = pr_slice_str(parent->path);
        if (!pr_slice_starts(path, prefix))
            return false;
        path = pr_slice_from(path, prefix.len);
        if (parent->type == CONF_ENTRIES) {
            if (!pr_slice_starts(path, PR_SLICE_LIT("[]")))
                return false;
            path = pr_slice_from(path, 2);
        }
        if (path.len == 0 || path.ptr[0] != '.')
            return false;
        path = pr_slice_from(path, 1);
    }
    return pr_slice_find(path, '.') == SIZE_MAX;
}

const struct conf_item *conf_schema_child(const struct conf_schema *s, const struct conf_item *parent,
                                          struct pr_slice key)
{
    for (size_t i = 0; i < s->n; i++)
        if (pr_slice_eq_str(key, conf_item_key(&s->items[i])) && conf_item_is_child(&s->items[i], parent))
            return &s->items[i];
    return NULL;
}

const struct conf_item *conf_schema_find(const struct conf_schema *s, const char *path)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->items[i].path, path) == 0)
            return &s->items[i];
    return NULL;
}

size_t conf_choice_find(const char *choices, struct pr_slice word)
{
    for (size_t i = 0;; i++) {
        struct pr_slice c = conf_choice_at(choices, i);
        if (c.len == 0)
            return SIZE_MAX;
        if (pr_slice_eq(c, word))
            return i;
    }
}

struct pr_slice conf_choice_at(const char *choices, size_t i)
{
    struct pr_slice rest = pr_slice_str(choices);
    for (; i > 0 && rest.ptr != NULL; i--)
        (void)pr_slice_cut(rest, '|', &rest);
    return rest.ptr == NULL ? rest : pr_slice_cut(rest, '|', &rest);
}
