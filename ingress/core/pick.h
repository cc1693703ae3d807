/* pick.h - which shard takes a new message: the less loaded of two chosen at random. Pure.
 *
 * Two choices keep the shards even without anyone knowing all loads exactly, and a shard that looks empty because its
 * figures are old is not swamped by everybody at once. */
#ifndef INGRESS_CORE_PICK_H
#define INGRESS_CORE_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/rng.h"

/* Admission levels of the bus (wire_shard_state). */
enum { ING_ADMISSION_REFUSE = 3, ING_ADMISSION_DISK_FULL = 4 };

struct ing_shard_view {
    bool leader;          /* somebody leads it, and can be reached */
    unsigned admission;   /* 0 accept ... 4 disk full */
    uint64_t queued;      /* messages there */
    uint64_t window_left; /* octets that may be sent now */
    uint64_t waiting;     /* octets of ours that it has not acknowledged, or that wait to be sent */
};

/* Index into v, or SIZE_MAX: no shard takes mail. A shard without window is taken only when all are so. */
size_t ing_pick_shard(const struct ing_shard_view *v, size_t n, uint64_t bytes, struct pr_rng *rng);

enum ing_intake { ING_INTAKE_OPEN, ING_INTAKE_NO_LEADER, ING_INTAKE_REFUSED, ING_INTAKE_DISK_FULL };
/* What a new message would meet. */
enum ing_intake ing_intake(const struct ing_shard_view *v, size_t n);

#endif
