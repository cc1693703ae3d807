/* Any bytes as a configuration: no crash, bounded messages; what loads is shown as YAML that loads to the same values. */
#include <stdint.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/conf/load.h"

static void check_round_trip(const struct pr_config *c)
{
    struct pr_buf shown = {0};
    struct pr_config *again = NULL;
    pr_config_show(c, 0, &shown);
    int rc = pr_config_parse(pr_buf_slice(&shown), "shown.yaml", &again, NULL);
    pr_assert(rc == PR_OK);
    struct pr_conf_diff *d = pr_config_diff(c, again);
    pr_assert(d->n == 0);
    pr_conf_diff_free(d);
    pr_config_unref(again);
    pr_buf_fini(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pr_config *c = NULL;
    struct pr_conf_errors *e = NULL;
    struct pr_buf b = {0};
    int rc = pr_config_parse(pr_slice(data, size), "fuzz.yaml", &c, &e);
    pr_assert((rc == PR_OK) == (e->n_errors == 0));
    pr_assert((c != NULL) == (rc == PR_OK));
    pr_assert(e->n <= PR_CONF_MESSAGES_MAX);
    pr_conf_errors_render(e, &b);
    pr_assert(pr_utf8_valid(pr_buf_slice(&b)));
    if (c != NULL) {
        check_round_trip(c);
        (void)pr_config_destination(c, pr_slice(data, size < 255 ? size : 255));
        (void)pr_config_limit(c, pr_slice(data, size < 255 ? size : 255));
    }
    pr_buf_fini(&b);
    pr_conf_errors_free(e);
    pr_config_unref(c);
    return 0;
}
