#include "deploy/cli/address.h"

#include <string.h>

#include "deploy/cli/cli.h"

int cli_parse_address(const char *text, struct pr_arena *arena, struct pr_hostport *ret)
{
    struct pr_slice s = pr_slice_str(text);
    if (pr_slice_starts(s, PR_SLICE_LIT("unix:/"))) {
        *ret = (struct pr_hostport){NULL, 0, pr_arena_cstr(arena, pr_slice_from(s, 5))};
        return CLI_OK;
    }
    size_t colon = pr_slice_rfind(s, ':');
    uint32_t port = 0;
    if (colon == SIZE_MAX || pr_parse_u32(pr_slice_from(s, colon + 1), 65535, &port) != PR_OK)
        return cli_fail(CLI_USAGE, "\"%s\" is not an address like 127.0.0.1:2525, [::1]:2525, host:25, unix:/path", text);
    struct pr_slice host = pr_slice_head(s, colon);
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = pr_slice(host.ptr + 1, host.len - 2);
    *ret = (struct pr_hostport){pr_arena_cstr(arena, host), (uint16_t)port, NULL};
    return CLI_OK;
}
