#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

static const struct {
    int code;
    const char *name;
    const char *text;
} errors[] = {
    {PR_OK, "PR_OK", "ok"},
#define X(name, value, text) {value, #name, text},
    PR_ERR_LIST(X)
#undef X
};

static size_t find(int code)
{
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code)
            return i;
    return SIZE_MAX;
}

const char *pr_strerror(int code)
{
    size_t i = find(code);
    return i == SIZE_MAX ? "unknown error" : errors[i].text;
}

const char *pr_errname(int code)
{
    size_t i = find(code);
    return i == SIZE_MAX ? "PR_E?" : errors[i].name;
}
