/* impl.h - the private part of a loaded configuration; inside common/conf only. */
#ifndef PR_CONF_IMPL_H
#define PR_CONF_IMPL_H

#include <stdatomic.h>

#include "common/base/arena.h"
#include "common/base/map.h"
#include "common/conf/config.h"
#include "common/conf/decode.h"

struct conf_impl {
    atomic_uint refs;
    struct pr_arena arena; /* everything the configuration points to */
    struct pr_map origins; /* see decode.h */
    struct pr_map routes;  /* domain pattern -> struct pr_conf_route */
    struct pr_map limits;  /* destination pattern -> struct pr_conf_limit */
    struct pr_conf_route default_route;
    struct pr_conf_limit default_limit;
};

static inline struct conf_impl *conf_impl(const struct pr_config *c) { return c->impl; }

/* The machine's own name, fully qualified if it is known without asking the network; never empty. */
void conf_machine_name(struct pr_buf *out);
/* Fills what depends on other items and is not given. */
void conf_derive(struct pr_config *c);
/* Checks across items. */
void conf_check(const struct pr_config *c, struct conf_report *report);
/* Makes limits inherit from "*", and builds the maps of lookup.c. */
void conf_index(struct pr_config *c);

#endif
