/* notify.h - tells the service manager how we are (sd_notify): one datagram to $NOTIFY_SOCKET, nothing without it.
 * Failures are of no consequence. Thread: the main one. */
#ifndef PR_NET_NOTIFY_H
#define PR_NET_NOTIFY_H

void pr_notify_ready(void);
void pr_notify_reloading(void);
void pr_notify_stopping(void);

#endif
