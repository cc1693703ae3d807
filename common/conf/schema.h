/* schema.h - the one table of configuration items, and what is made from it; inside common/conf only.
 *
 * Rules of the table: items stand in the order of the file; a section or list of maps stands before its items; the path of
 * an item in a list of maps is "list[].key", its offset is that in the element. */
#ifndef PR_CONF_SCHEMA_H
#define PR_CONF_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/slice.h"
#include "common/conf/load.h"

enum conf_type {
    CONF_SECTION,   /* a map; no storage */
    CONF_ENTRIES,   /* a list of maps; storage: pointer to array of elem_size, count at offset_n */
    CONF_BOOL,      /* bool */
    CONF_UINT,      /* uint16_t, unsigned or uint64_t by size */
    CONF_PERCENT,   /* unsigned */
    CONF_DURATION,  /* uint64_t, in scale microseconds */
    CONF_SIZE,      /* uint64_t, bytes */
    CONF_BYTE_RATE, /* uint64_t, bytes per second */
    CONF_RATE,      /* struct pr_rate */
    CONF_CIDR,      /* struct pr_cidr */
    CONF_HOSTPORT,  /* struct pr_hostport: host:port, [v6]:port, unix:/path */
    CONF_SERVER,    /* char *: address or address:port of a DNS server */
    CONF_ENDPOINT,  /* char *: ipc://path or tcp://host:port */
    CONF_FQDN,      /* char *: a host name */
    CONF_DOMAIN,    /* char *: domain, or .domain for all below it; lower case */
    CONF_PATTERN,   /* char *: as CONF_DOMAIN, or "*" */
    CONF_DEST,      /* char *: as CONF_PATTERN, or a next hop as in routes */
    CONF_ROUTE,     /* struct pr_conf_route without its domain */
    CONF_STRING,    /* char *: one line of text */
    CONF_PATH,      /* char *: absolute */
    CONF_REGEX,     /* char *: compiles as PCRE2 */
    CONF_SECRET,    /* char *: text, or file:PATH */
    CONF_ENUM,      /* size of the field: index into choices as bool, unsigned or enum */
    CONF_CHOICE,    /* char *: one of choices */
    CONF_TYPE_NR,
};

enum conf_flags {
    CONF_F_LIST = 1,     /* list of scalars: pointer to array, count at offset_n */
    CONF_F_KEY = 2,      /* names the element in a list of maps: required and unique */
    CONF_F_REQUIRED = 4, /* in a list of maps */
    CONF_F_EMPTY = 8,    /* the empty text is a value */
};

struct conf_item {
    const char *path;
    enum conf_type type;
    unsigned flags;
    size_t offset, size;  /* of the field; for lists: the pointer, size of one element */
    size_t offset_n;      /* of the count (size_t) */
    const char *def;      /* default as text, list members separated by ", "; NULL: none */
    const char *def_help; /* what stands in for a default that is worked out at load; NULL */
    uint64_t min, max;    /* of the stored value; max 0: no limit but the type's */
    uint64_t scale;       /* CONF_DURATION: microseconds per stored unit */
    const char *unit;     /* of plain numbers, for people; NULL */
    const char *choices;  /* a|b|c */
    enum pr_conf_reload reload;
    const char *help;
};

struct conf_schema {
    const struct conf_item *items;
    size_t n;
};

extern const struct conf_schema conf_schema;

/* Name and JSON form of the types. */
struct conf_type_info {
    const char *name;     /* for people */
    const char *example;  /* what to write */
    const char *pattern;  /* JSON Schema pattern of the text form; NULL: no pattern */
};
extern const struct conf_type_info conf_types[CONF_TYPE_NR];

/* Last part of the path. */
const char *conf_item_key(const struct conf_item *item);
/* Is item a direct child of the section or list at parent (NULL: the top)? */
bool conf_item_is_child(const struct conf_item *item, const struct conf_item *parent);
/* The child of parent with that key, or NULL. */
const struct conf_item *conf_schema_child(const struct conf_schema *s, const struct conf_item *parent,
                                          struct pr_slice key);
const struct conf_item *conf_schema_find(const struct conf_schema *s, const char *path);
/* Position of word in choices (a|b|c), or SIZE_MAX; the i-th choice, empty at the end. */
size_t conf_choice_find(const char *choices, struct pr_slice word);
struct pr_slice conf_choice_at(const char *choices, size_t i);

#endif
