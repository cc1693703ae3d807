#include "ingress/core/refusals.h"

#include "common/base/assert.h"

const char *const ing_stage_names[ING_STAGE_NR] = {
    [ING_AT_CONNECT] = "connect", [ING_AT_HELO] = "helo", [ING_AT_MAIL] = "mail",
    [ING_AT_RCPT] = "rcpt",       [ING_AT_DATA] = "data", [ING_AT_EOD] = "eod",
};

const char *const ing_reason_names[ING_REASON_NR] = {
    [ING_WHY_SYNTAX] = "syntax",
    [ING_WHY_SEQUENCE] = "sequence",
    [ING_WHY_UNSUPPORTED] = "unsupported",
    [ING_WHY_LINE_LENGTH] = "line_length",
    [ING_WHY_EARLY_TALKER] = "early_talker",
    [ING_WHY_PROTOCOL] = "protocol",
    [ING_WHY_ADDRESS] = "address",
    [ING_WHY_RELAY] = "relay",
    [ING_WHY_SIZE] = "size",
    [ING_WHY_RECIPIENTS] = "recipients",
    [ING_WHY_BARE_NEWLINE] = "bare_newline",
    [ING_WHY_TEXT_LINE] = "text_line",
    [ING_WHY_HEADER] = "header",
    [ING_WHY_LOOP] = "loop",
    [ING_WHY_ERRORS] = "errors",
    [ING_WHY_HARMLESS] = "harmless",
    [ING_WHY_MESSAGES] = "messages",
    [ING_WHY_TIMEOUT] = "timeout",
    [ING_WHY_CONNECTIONS] = "connections",
    [ING_WHY_MEMORY] = "memory",
    [ING_WHY_UNAVAILABLE] = "unavailable",
    [ING_WHY_DISK] = "disk",
    [ING_WHY_POLICY] = "policy",
    [ING_WHY_SHUTDOWN] = "shutdown",
};

const char *const ing_close_names[ING_CLOSE_NR] = {
    [ING_CLOSE_QUIT] = "quit",       [ING_CLOSE_PEER] = "peer",         [ING_CLOSE_REFUSED] = "refused",
    [ING_CLOSE_TIMEOUT] = "timeout", [ING_CLOSE_SHUTDOWN] = "shutdown", [ING_CLOSE_TLS] = "tls",
};

const struct ing_refusal ing_refusals[ING_REFUSAL_NR] = {
    [ING_R_NONE] = {ING_WHY_SYNTAX, {500, "5.5.1", "Error"}},

    [ING_R_LINE_TOO_LONG] = {ING_WHY_LINE_LENGTH, {500, "5.5.2", "Line too long"}},
    [ING_R_FLOOD] = {ING_WHY_LINE_LENGTH, {421, "4.7.0", "Too much data without a line end, closing"}},
    [ING_R_BAD_BYTES] = {ING_WHY_SYNTAX, {500, "5.5.2", "Bare CR, bare LF, NUL or other byte that no command holds"}},
    [ING_R_UNKNOWN_VERB] = {ING_WHY_UNSUPPORTED, {500, "5.5.2", "Command not recognized"}},
    [ING_R_FOREIGN] = {ING_WHY_PROTOCOL, {521, "5.5.2", "This is an SMTP server, closing"}},
    [ING_R_EARLY_GREETING] = {ING_WHY_EARLY_TALKER, {554, "5.5.0", "You spoke before the greeting, closing"}},
    [ING_R_EARLY_EHLO] = {ING_WHY_EARLY_TALKER, {554, "5.5.0", "You spoke before the reply to EHLO or HELO, closing"}},

    [ING_R_NEED_HELO] = {ING_WHY_SEQUENCE, {503, "5.5.1", "Send EHLO or HELO first"}},
    [ING_R_NEED_EHLO] = {ING_WHY_SEQUENCE, {503, "5.5.1", "Send EHLO first"}},
    [ING_R_NEED_MAIL] = {ING_WHY_SEQUENCE, {503, "5.5.1", "Send MAIL first"}},
    [ING_R_NEED_RCPT] = {ING_WHY_SEQUENCE, {503, "5.5.1", "Send RCPT first"}},
    [ING_R_NO_VALID_RCPT] = {ING_WHY_RECIPIENTS, {554, "5.5.1", "No valid recipients"}},
    [ING_R_NESTED_MAIL] = {ING_WHY_SEQUENCE, {503, "5.5.1", "Nested MAIL"}},
    [ING_R_IN_BDAT] = {ING_WHY_SEQUENCE, {503, "5.5.1", "Only BDAT continues a chunked message; RSET drops it"}},
    [ING_R_TLS_ACTIVE] = {ING_WHY_SEQUENCE, {503, "5.5.1", "TLS is active already"}},
    [ING_R_BINARY_NEEDS_BDAT] = {ING_WHY_SEQUENCE, {503, "5.5.1", "BODY=BINARYMIME needs BDAT"}},

    [ING_R_NOT_LMTP] = {ING_WHY_UNSUPPORTED, {500, "5.5.1", "This is SMTP, not LMTP"}},
    [ING_R_NO_AUTH] = {ING_WHY_UNSUPPORTED, {502, "5.5.1", "AUTH is not offered here"}},
    [ING_R_NO_EXPN] = {ING_WHY_UNSUPPORTED, {502, "5.5.1", "EXPN is not offered"}},
    [ING_R_NO_VRFY] = {ING_WHY_UNSUPPORTED, {502, "5.5.1", "VRFY is not offered"}},
    [ING_R_NO_STARTTLS] = {ING_WHY_UNSUPPORTED, {502, "5.5.1", "STARTTLS is not offered here"}},
    [ING_R_NO_CHUNKING] = {ING_WHY_UNSUPPORTED, {502, "5.5.1", "CHUNKING is not offered here"}},

    [ING_R_NO_ARGUMENT] = {ING_WHY_SYNTAX, {501, "5.5.4", "This command takes no argument"}},
    [ING_R_NEED_ARGUMENT] = {ING_WHY_SYNTAX, {501, "5.5.4", "This command needs an argument"}},
    [ING_R_BAD_HELO] = {ING_WHY_SYNTAX, {501, "5.5.4", "EHLO and HELO need a host name or an address literal"}},
    [ING_R_BAD_BDAT] = {ING_WHY_SYNTAX, {501, "5.5.4", "Syntax: BDAT size [LAST]"}},
    [ING_R_BAD_BDAT_SIZE] = {ING_WHY_SYNTAX, {501, "5.5.4", "The size of the chunk cannot be known, closing"}},

    [ING_R_RELAY] = {ING_WHY_RELAY, {550, "5.7.1", "Relaying denied"}},
    [ING_R_TOO_MANY_RCPTS] = {ING_WHY_RECIPIENTS, {452, "4.5.3", "Too many recipients"}},
    [ING_R_SIZE] = {ING_WHY_SIZE, {552, "5.3.4", "Message is larger than the limit"}},
    [ING_R_TOO_MANY_ERRORS] = {ING_WHY_ERRORS, {421, "4.7.0", "Too many errors, closing"}},
    [ING_R_TOO_MANY_HARMLESS] = {ING_WHY_HARMLESS, {421, "4.7.0", "Too many commands without mail, closing"}},
    [ING_R_TOO_MANY_MESSAGES] = {ING_WHY_MESSAGES, {421, "4.7.0", "Too many messages in this connection, closing"}},
    [ING_R_CONNECTIONS] = {ING_WHY_CONNECTIONS, {421, "4.7.0", "Too many connections, try again later"}},
    [ING_R_TIMEOUT] = {ING_WHY_TIMEOUT, {421, "4.4.2", "Timeout, closing"}},
    [ING_R_SHUTDOWN] = {ING_WHY_SHUTDOWN, {421, "4.3.2", "Service shutting down, closing"}},

    [ING_R_BARE_NEWLINE] = {ING_WHY_BARE_NEWLINE, {550, "5.6.0", "Message contains bare CR or LF; lines end with CRLF"}},
    [ING_R_NUL] = {ING_WHY_BARE_NEWLINE, {550, "5.6.0", "Message contains NUL"}},
    [ING_R_TEXT_LINE] = {ING_WHY_TEXT_LINE, {554, "5.6.0", "Message contains a line over 998 octets"}},
    [ING_R_HEADER_FIELD] = {ING_WHY_HEADER, {554, "5.6.0", "Message contains a header field over the limit"}},
    [ING_R_LOOP] = {ING_WHY_LOOP, {554, "5.4.6", "Too many hops, this looks like a mail loop"}},

    [ING_R_MEMORY] = {ING_WHY_MEMORY, {452, "4.3.1", "Insufficient system storage, try again later"}},
    [ING_R_DISK_FULL] = {ING_WHY_DISK, {452, "4.3.1", "Queue is out of space, try again later"}},
    [ING_R_UNAVAILABLE] = {ING_WHY_UNAVAILABLE, {451, "4.3.0", "Queue is not available, try again later"}},
    [ING_R_UNKNOWN_OUTCOME] = {ING_WHY_UNAVAILABLE, {451, "4.3.0", "Queue did not confirm the message, try again later"}},
    [ING_R_INVALID] = {ING_WHY_UNAVAILABLE, {554, "5.3.0", "Queue refused the message"}},
};

enum ing_refusal_id ing_refusal_of_spool(enum ing_spool_status status)
{
    switch (status) {
    case ING_SPOOL_MEMORY:
        return ING_R_MEMORY;
    case ING_SPOOL_DISK_FULL:
        return ING_R_DISK_FULL;
    case ING_SPOOL_UNAVAILABLE:
        return ING_R_UNAVAILABLE;
    case ING_SPOOL_UNKNOWN:
        return ING_R_UNKNOWN_OUTCOME;
    case ING_SPOOL_INVALID:
        return ING_R_INVALID;
    case ING_SPOOL_OK:
    case ING_SPOOL_STATUS_NR:
        break;
    }
    pr_unreachable();
}
