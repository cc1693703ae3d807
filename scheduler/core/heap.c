/* Pairing heap: insertion is O(1), removal O(log n) amortised, nothing is allocated. `prev` is the left sibling, or the
 * parent for a leftmost child. */
#include "scheduler/core/internal.h"

static struct flow *meld(struct flow *a, struct flow *b)
{
    if (a == NULL)
        return b;
    if (b == NULL)
        return a;
    if (b->heap_due < a->heap_due) {
        struct flow *t = a;
        a = b;
        b = t;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child != NULL)
        a->child->prev = b;
    a->child = b;
    a->next = a->prev = NULL;
    return a;
}

void heap_insert(struct queue *q, struct flow *f, uint64_t due)
{
    f->heap_due = due;
    f->child = f->next = f->prev = NULL;
    q->root = meld(q->root, f);
}

/* Two passes: pairs from left to right, then together from right to left (through `prev`). */
static struct flow *merge_siblings(struct flow *f)
{
    struct flow *done = NULL, *root = NULL;
    while (f != NULL) {
        struct flow *a = f, *b = f->next, *rest = b == NULL ? NULL : b->next;
        a->next = a->prev = NULL;
        if (b != NULL)
            b->next = b->prev = NULL;
        a = meld(a, b);
        a->prev = done;
        done = a;
        f = rest;
    }
    while (done != NULL) {
        struct flow *left = done->prev;
        done->prev = NULL;
        root = meld(root, done);
        done = left;
    }
    return root;
}

void heap_remove(struct queue *q, struct flow *f)
{
    struct flow *children = merge_siblings(f->child);
    if (f == q->root) {
        q->root = children;
    } else {
        if (f->prev->child == f)
            f->prev->child = f->next;
        else
            f->prev->next = f->next;
        if (f->next != NULL)
            f->next->prev = f->prev;
        q->root = meld(q->root, children);
    }
    f->child = f->next = f->prev = NULL;
}
