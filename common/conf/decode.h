/* decode.h - a node tree into a struct, as the schema table says; inside common/conf only.
 *
 * Owns: nothing; values live in the arena. Errors: all to the report, never the first only. */
#ifndef PR_CONF_DECODE_H
#define PR_CONF_DECODE_H

#include "common/base/map.h"
#include "common/conf/node.h"
#include "common/conf/schema.h"

/* Where a thing was given, for the checks across items and for `show --non-default`. */
struct conf_origin {
    struct conf_mark mark;
    const struct conf_mark *member_marks; /* of a list of scalars */
};

struct conf_decoder {
    const struct conf_schema *schema;
    struct pr_arena *arena;
    struct conf_report *report;
    const char *dir; /* of the file; NULL */
    struct pr_map *origins; /* (item, element) -> struct conf_origin in the arena */
};

/* Fills dest (zeroed) with the defaults, then with what root says. root may be NULL. */
void conf_decode(struct conf_decoder *d, const struct conf_node *root, void *dest);
/* Sets the defaults of everything directly in parent (NULL: the top) at base; lists of maps have their own base. */
void conf_set_defaults(struct conf_decoder *d, const struct conf_item *parent, void *base);
/* The origin of an item that the file gives, or NULL. element: the entry of a list of maps, NULL at the top; an entry
 * itself is (list item, element). */
const struct conf_origin *conf_origin_find(const struct pr_map *origins, const struct conf_item *item,
                                           const void *element);

#endif
