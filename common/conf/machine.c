/* machine.c - the name of this machine. A DNS look-up could stall the start, so only /etc/hosts is asked. */
#include <stdio.h>
#include <unistd.h>

#include "common/conf/impl.h"
#include "common/conf/value.h"

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static struct pr_slice next_word(struct pr_slice *rest)
{
    while (rest->len > 0 && is_blank(rest->ptr[0]))
        *rest = pr_slice_from(*rest, 1);
    size_t n = 0;
    while (n < rest->len && !is_blank(rest->ptr[n]))
        n++;
    struct pr_slice word = pr_slice_head(*rest, n);
    *rest = pr_slice_from(*rest, n);
    return word;
}

/* A line of hosts(5) that has our short name: its first name with a dot. */
static struct pr_slice full_name_in(struct pr_slice line, struct pr_slice name)
{
    size_t comment = pr_slice_find(line, '#');
    struct pr_slice full = {NULL, 0}, rest = pr_slice_head(line, comment);
    bool ours = false;
    (void)next_word(&rest);
    for (struct pr_slice word; (word = next_word(&rest)).len > 0;) {
        ours = ours || pr_slice_ieq(word, name);
        if (full.len == 0 && pr_slice_find(word, '.') != SIZE_MAX && conf_host_valid(word))
            full = word;
    }
    return ours ? full : (struct pr_slice){NULL, 0};
}

static bool full_name_from_hosts(struct pr_slice name, struct pr_buf *out)
{
    char line[1024];
    FILE *f = fopen("/etc/hosts", "re");
    if (f == NULL)
        return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, f) != NULL) {
        struct pr_slice full = full_name_in(pr_slice_str(line), name);
        pr_buf_add(out, full);
        found = full.len > 0;
    }
    (void)fclose(f);
    return found;
}

void conf_machine_name(struct pr_buf *out)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0 || !conf_host_valid(pr_slice_str(host))) {
        pr_buf_str(out, "localhost");
        return;
    }
    if (strchr(host, '.') != NULL || !full_name_from_hosts(pr_slice_str(host), out))
        pr_buf_str(out, host);
}
