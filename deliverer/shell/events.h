/* events.h - the events a deliverer logs and their keys. Names are stable: people search for them.
 *
 *   delivery           info   an attempt for a recipient group (or one of its recipients, when their fates differ):
 *                             id rcpt nrcpts dest remote status code enh stage delay_ms attempt_ms attempt tls reply
 *                             status: delivered deferred bounced aborted unknown
 *   connection_failed  info   dest remote stage code reply         no mail was sent over it
 *   tls_fallback       warn   dest remote reason                   STARTTLS failed, again in clear
 *   lane_up            info   lane session                         the scheduler knows us
 *   lane_lost          warn   lane                                 no word from the scheduler: a new session begins
 *   job_malformed      error  lane shard                           a job that does not decode
 *   journal_recovered  warn   records                              transactions of a process that died, reported now
 *   journal_damaged    error  path records
 *   deliverer_ready, deliverer_stopping, deliverer_failed */
#ifndef DLV_EVENTS_H
#define DLV_EVENTS_H

#define EV_DELIVERY "delivery"
#define EV_CONNECTION_FAILED "connection_failed"
#define EV_TLS_FALLBACK "tls_fallback"
#define EV_LANE_UP "lane_up"
#define EV_LANE_LOST "lane_lost"
#define EV_JOB_MALFORMED "job_malformed"
#define EV_JOURNAL_RECOVERED "journal_recovered"
#define EV_JOURNAL_DAMAGED "journal_damaged"
#define EV_READY "deliverer_ready"
#define EV_STOPPING "deliverer_stopping"
#define EV_FAILED "deliverer_failed"

#endif
