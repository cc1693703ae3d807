/* Command lines: the first byte gives the extensions, the second whether SMTPUTF8 is on. A refusal always comes with a
 * reply; what is accepted keeps to the rules of its parameters. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mail/command.h"
#include "common/mail/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_refusal(int rc, const struct mail_reply *reply)
{
    struct pr_buf b = {0};
    require(rc == PR_EPARSE);
    require(reply->code == 501 || reply->code == 552 || reply->code == 553 || reply->code == 555);
    require(mail_enhanced_status(reply->code, pr_slice_str(reply->enhanced)) == strlen(reply->enhanced));
    mail_reply_format(reply, &b);
    require(b.len <= 512);
    pr_buf_fini(&b);
}

static void check_xtext(struct pr_slice s)
{
    struct pr_buf b = {0};
    require(mail_xtext_decode(s, &b) == 0 && mail_text_valid(pr_buf_slice(&b)));
    pr_buf_fini(&b);
}

static void check_from(struct pr_slice args, unsigned ext)
{
    struct mail_from f;
    struct mail_reply reply = {0, NULL, NULL};
    int rc = mail_command_from(args, ext, &f, &reply);
    if (rc != 0) {
        check_refusal(rc, &reply);
        return;
    }
    require(!f.path.utf8 || f.smtputf8);
    require(!f.smtputf8 || (ext & MAIL_EXT_SMTPUTF8) != 0);
    require(!f.has_size || (ext & MAIL_EXT_SIZE) != 0);
    require(f.body != MAIL_BODY_BINARYMIME || (ext & MAIL_EXT_BINARYMIME) != 0);
    require(f.envid_xtext.len <= 100);
    check_xtext(f.envid_xtext);
}

static void check_to(struct pr_slice args, unsigned ext, bool smtputf8)
{
    struct mail_to t;
    struct mail_reply reply = {0, NULL, NULL};
    int rc = mail_command_to(args, ext, smtputf8, &t, &reply);
    if (rc != 0) {
        check_refusal(rc, &reply);
        return;
    }
    require(t.path.kind != MAIL_ADDRESS_NULL && (!t.path.utf8 || smtputf8));
    require((t.notify & MAIL_NOTIFY_NEVER) == 0 || t.notify == MAIL_NOTIFY_NEVER);
    require((t.notify == 0 && t.orcpt_xtext.len == 0) || (ext & MAIL_EXT_DSN) != 0);
    require(t.orcpt_xtext.len <= 500 && (smtputf8 || pr_is_ascii(t.orcpt_xtext)));
    check_xtext(t.orcpt_xtext);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pr_slice args;
    uint64_t chunk;
    bool last;
    if (size < 2)
        return 0;
    struct pr_slice line = pr_slice(data + 2, size - 2);
    enum mail_verb verb = mail_command_verb(line, &args);
    if (verb != MAIL_VERB_UNKNOWN)
        require(!mail_command_foreign(line));
    check_from(args, data[0]);
    check_to(args, data[0], (data[1] & 1) != 0);
    int rc = mail_command_bdat(args, &chunk, &last);
    require(rc == 0 || rc == PR_EPARSE || rc == PR_ERANGE || rc == PR_EINVAL);
    (void)mail_command_clean(line, true);
    return 0;
}
