/* list.h - intrusive doubly linked list. A node is in at most one list; an unlinked node points at itself. */
#ifndef PR_BASE_LIST_H
#define PR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/alloc.h"

struct pr_list {
    struct pr_list *prev;
    struct pr_list *next;
};

static inline void pr_list_init(struct pr_list *l) { l->prev = l->next = l; }
static inline bool pr_list_empty(const struct pr_list *l) { return l->next == l; }
static inline void pr_list_insert_after(struct pr_list *at, struct pr_list *n)
{
    n->prev = at;
    n->next = at->next;
    at->next->prev = n;
    at->next = n;
}
static inline void pr_list_push_back(struct pr_list *l, struct pr_list *n) { pr_list_insert_after(l->prev, n); }
static inline void pr_list_push_front(struct pr_list *l, struct pr_list *n) { pr_list_insert_after(l, n); }
/* Also right for a node that is in no list. */
static inline void pr_list_remove(struct pr_list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    pr_list_init(n);
}
static inline bool pr_list_linked(const struct pr_list *n) { return n->next != n; }
/* First node, or NULL. */
static inline struct pr_list *pr_list_first(struct pr_list *l) { return pr_list_empty(l) ? NULL : l->next; }
static inline struct pr_list *pr_list_pop_front(struct pr_list *l)
{
    struct pr_list *n = pr_list_first(l);
    if (n != NULL)
        pr_list_remove(n);
    return n;
}

#define pr_list_entry(node, type, member) pr_container_of(node, type, member)
/* Iteration that survives removal of the current node. */
#define pr_list_foreach(it, tmp, l) for ((it) = (l)->next, (tmp) = (it)->next; (it) != (l); (it) = (tmp), (tmp) = (it)->next)

#endif
