/* duration.h - times on the command line and in tables. Thread: any. */
#ifndef DEPLOY_CLI_DURATION_H
#define DEPLOY_CLI_DURATION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

/* 500ms, 30s, 5m, 1h30m, 2d; false for anything else, and for none at all. */
bool cli_parse_duration(const char *s, uint64_t *ret_ms);
/* The two largest units: 2d3h, 5m10s, 41ms. */
void cli_format_duration(uint64_t ms, struct pr_buf *out);
/* 512, 10.2K, 25.0M, 3.1G: bytes in at most six characters. */
void cli_format_size(uint64_t bytes, struct pr_buf *out);
/* 2026-11-21 07:30:00, UTC. */
void cli_format_time(uint64_t wall_ms, struct pr_buf *out);

#endif
