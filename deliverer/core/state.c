/* The states of the connection; the diagram is in client_internal.h. */
#include "deliverer/core/client_internal.h"

const struct pr_sm_state dlv_client_states[ST_NR] = {
    [ST_CONNECTING] = {"connecting", PR_SM_TO(ST_GREETING) | PR_SM_TO(ST_CLOSED), PR_SM_INITIAL},
    [ST_GREETING] = {"greeting", PR_SM_TO(ST_HELLO) | PR_SM_TO(ST_CLOSED), 0},
    [ST_HELLO] = {"hello", PR_SM_TO(ST_STARTTLS) | PR_SM_TO(ST_READY) | PR_SM_TO(ST_CLOSED), 0},
    [ST_STARTTLS] = {"starttls", PR_SM_TO(ST_TLS) | PR_SM_TO(ST_CLOSED), 0},
    [ST_TLS] = {"tls", PR_SM_TO(ST_HELLO) | PR_SM_TO(ST_CLOSED), 0},
    [ST_READY] = {"ready", PR_SM_TO(ST_QUIT) | PR_SM_TO(ST_CLOSED), 0},
    [ST_QUIT] = {"quit", PR_SM_TO(ST_CLOSED), 0},
    [ST_CLOSED] = {"closed", 0, PR_SM_FINAL},
};

const char *const dlv_close_reason_names[DLV_CLOSE_NR] = {
    [DLV_CLOSE_QUIT] = "quit",       [DLV_CLOSE_REFUSED] = "refused", [DLV_CLOSE_TLS] = "tls",
    [DLV_CLOSE_PROTOCOL] = "protocol", [DLV_CLOSE_TIMEOUT] = "timeout", [DLV_CLOSE_LOST] = "lost",
    [DLV_CLOSE_SHUTDOWN] = "shutdown", [DLV_CLOSE_ABORTED] = "aborted",
};
