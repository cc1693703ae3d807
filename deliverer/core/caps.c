/* The reply to EHLO: one extension a line after the first (RFC 5321 4.1.1.1). */
#include "common/base/alloc.h"
#include "deliverer/core/client.h"

struct keyword {
    const char *name;
    unsigned bit;
};
static const struct keyword keywords[] = {
    {"PIPELINING", DLV_CAP_PIPELINING}, {"SIZE", DLV_CAP_SIZE},
    {"8BITMIME", DLV_CAP_8BITMIME},     {"SMTPUTF8", DLV_CAP_SMTPUTF8},
    {"DSN", DLV_CAP_DSN},               {"CHUNKING", DLV_CAP_CHUNKING},
    {"BINARYMIME", DLV_CAP_BINARYMIME}, {"STARTTLS", DLV_CAP_STARTTLS},
    {"ENHANCEDSTATUSCODES", DLV_CAP_ENHANCED},
};

/* RFC 9422: LIMITS RCPTMAX=n MAILMAX=n; a value that does not parse says nothing. */
static void parse_limits(struct pr_slice args, struct dlv_caps *caps)
{
    while (args.len > 0) {
        struct pr_slice value, word = pr_slice_cut(args, ' ', &args);
        struct pr_slice name = pr_slice_cut(word, '=', &value);
        uint32_t n;
        if (pr_parse_u32(value, UINT32_MAX, &n) != 0 || n == 0)
            continue;
        if (pr_slice_ieq_str(name, "RCPTMAX"))
            caps->rcpt_max = n;
        else if (pr_slice_ieq_str(name, "MAILMAX"))
            caps->mail_max = n;
    }
}

static void parse_line(struct pr_slice line, struct dlv_caps *caps)
{
    struct pr_slice args, word = pr_slice_cut(pr_slice_trim(line), ' ', &args);
    args = pr_slice_trim(args);
    for (size_t i = 0; i < PR_ARRAY_LEN(keywords); i++)
        if (pr_slice_ieq_str(word, keywords[i].name))
            caps->bits |= keywords[i].bit;
    uint64_t size;
    if (pr_slice_ieq_str(word, "SIZE") && args.len > 0 && pr_parse_u64(args, UINT64_MAX, &size) == 0)
        caps->size_max = size;
    else if (pr_slice_ieq_str(word, "LIMITS"))
        parse_limits(args, caps);
}

void dlv_caps_parse(struct pr_slice text, struct dlv_caps *ret)
{
    *ret = (struct dlv_caps){.bits = 0};
    struct pr_slice rest;
    (void)pr_slice_cut(text, '\n', &rest); /* the peer's name and greeting */
    while (rest.len > 0)
        parse_line(pr_slice_cut(rest, '\n', &rest), ret);
    /* RFC 3030 section 3: BINARYMIME needs CHUNKING to travel. RFC 6531 3.1: SMTPUTF8 implies 8BITMIME. */
    if ((ret->bits & DLV_CAP_CHUNKING) == 0)
        ret->bits &= ~(unsigned)DLV_CAP_BINARYMIME;
    if ((ret->bits & DLV_CAP_8BITMIME) == 0)
        ret->bits &= ~(unsigned)DLV_CAP_SMTPUTF8;
}
