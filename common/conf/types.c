/* types.c - what people and editors are told about each type of value. */
#include "common/conf/schema.h"

#define HOST "[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
#define PORT "[1-9][0-9]{0,4}"
#define BRACKETS "\\[[^\\[\\] ]+\\]"

const struct conf_type_info conf_types[CONF_TYPE_NR] = {
    [CONF_SECTION] = {"group", NULL, NULL},
    [CONF_ENTRIES] = {"list of groups", "one \"- key: value\" per entry", NULL},
    [CONF_BOOL] = {"true or false", "true or false", NULL},
    [CONF_UINT] = {"number", "a whole number", NULL},
    [CONF_PERCENT] = {"percentage", "like 25%", "^[0-9]{1,3}%$"},
    [CONF_DURATION] = {"duration", "like 90s, 5m, 1h30m, 2d, 250ms", "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?$"},
    [CONF_SIZE] = {"size", "like 25MiB, 10MB, 64KiB, 512B", "^[0-9]+([KMGT]i?)?B$"},
    [CONF_BYTE_RATE] = {"bytes per second", "like 500B/s, 1KiB/s", "^[0-9]+([KMGT]i?)?B/s$"},
    [CONF_RATE] = {"rate", "like 100/s, 20/min, 500/h, 10000/d, unlimited", "^([0-9]+/(s|min|h|d)|unlimited)$"},
    [CONF_CIDR] = {"network", "like 192.0.2.0/24, 2001:db8::/32, or a single address", "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"},
    [CONF_HOSTPORT] = {"address", "like 127.0.0.1:2525, [::1]:2525, unix:/run/file",
                       "^(unix:/.+|" BRACKETS ":" PORT "|" HOST ":" PORT ")$"},
    [CONF_SERVER] = {"name server", "like 127.0.0.1, 127.0.0.1:5353, [::1]:5353",
                     "^([0-9.]+(:" PORT ")?|[0-9A-Fa-f:]+|" BRACKETS ":" PORT ")$"},
    [CONF_ENDPOINT] = {"endpoint", "like ipc:///run/postrider/bus, tcp://127.0.0.1:7070",
                       "^(ipc:///.+|tcp://.+:" PORT ")$"},
    [CONF_FQDN] = {"host name", "like mail.example.com", "^" HOST "$"},
    [CONF_DOMAIN] = {"domain", "like example.com, or .example.com for all below it", "^\\.?[^\\s.*@\\[\\]]+(\\.[^\\s.*@\\[\\]]+)*$"},
    [CONF_PATTERN] = {"domain pattern", "like example.com, .example.com (all below), or \"*\" (all others)",
                      "^(\\*|\\.?[^\\s.*@\\[\\]]+(\\.[^\\s.*@\\[\\]]+)*)$"},
    [CONF_DEST] = {"destination", "like example.com, .example.com, \"*\", [192.0.2.1]:25", "^[^\\s]+$"},
    [CONF_ROUTE] = {"next hop", "mx, [host]:port, host:port (its MX), lmtp:[host]:port, or lmtp:unix:/path",
                    "^(mx|lmtp:unix:/.+|lmtp:(" BRACKETS "|" HOST "):" PORT "|(" BRACKETS "|" HOST ")(:" PORT ")?)$"},
    [CONF_STRING] = {"text", "one line of text", "^[^\\r\\n]+$"},
    [CONF_PATH] = {"path", "an absolute path", "^/"},
    [CONF_REGEX] = {"regular expression", "a Perl-compatible regular expression", NULL},
    [CONF_SECRET] = {"secret", "file:PATH, ${env:NAME}, or the text itself", NULL},
    [CONF_ENUM] = {"choice", "one of the words listed", NULL},
    [CONF_CHOICE] = {"choice", "one of the words listed", NULL},
};
