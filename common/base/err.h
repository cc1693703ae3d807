/* err.h - the one list of error codes of Postrider.
 *
 * Convention: a fallible function returns 0 or one of the negative PR_E* codes below and is marked PR_MUST_USE.
 * Foreign conventions (errno, UV_*, RocksDB strings, RAFT_*, OpenSSL's queue, ARES_*) end at one adapter function each.
 * A peer's refusal is a value (struct mail_reply, an outcome), never an error. */
#ifndef PR_BASE_ERR_H
#define PR_BASE_ERR_H

#define PR_MUST_USE __attribute__((warn_unused_result))
#define PR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* name, value, text */
#define PR_ERR_LIST(X)                                                  \
    X(PR_EINVAL, -1, "invalid argument or value")                       \
    X(PR_ENOMEM, -2, "out of memory or over a memory budget")           \
    X(PR_EPARSE, -3, "malformed input")                                 \
    X(PR_ETOOBIG, -4, "input exceeds its limit")                        \
    X(PR_ENOTFOUND, -5, "not found")                                    \
    X(PR_EEXIST, -6, "already exists")                                  \
    X(PR_EIO, -7, "input or output error")                              \
    X(PR_ECORRUPT, -8, "stored data is damaged")                        \
    X(PR_ENOSPC, -9, "no space left")                                   \
    X(PR_ETIMEOUT, -10, "timed out")                                    \
    X(PR_EAGAIN, -11, "not now, try again")                             \
    X(PR_ENOTLEADER, -12, "this node does not lead the shard")          \
    X(PR_EUNKNOWN, -13, "outcome unknown")                              \
    X(PR_ECLOSED, -14, "closed or stopping")                            \
    X(PR_ERANGE, -15, "number out of range")                            \
    X(PR_EVERSION, -16, "unknown version")                              \
    X(PR_EDENIED, -17, "not permitted")                                 \
    X(PR_ECONFLICT, -18, "conflicts with the present state")            \
    X(PR_EUNAVAIL, -19, "service unavailable")

enum pr_err {
    PR_OK = 0,
#define X(name, value, text) name = value,
    PR_ERR_LIST(X)
#undef X
};

/* Text of a code; never NULL, static storage. */
const char *pr_strerror(int code);
/* Name of a code ("PR_EPARSE"); never NULL, static storage. */
const char *pr_errname(int code);

#endif
