/* journal_file.h - the dot journals of a data directory: one mapped file per lane and process start, 64 octets per
 * transaction (deliverer/core/journal.h). Stores survive the death of the process, not of the machine.
 *
 * Happy path: 1. the directory is locked: whoever held it before is gone, and so are its sockets; 2. what earlier processes
 * left is read; 3. each lane opens a file of its own; 4. when every lane has had the old records acknowledged, the old
 * files are removed.
 * Thread: directory: main; file: that of its lane. */
#ifndef DLV_JOURNAL_FILE_H
#define DLV_JOURNAL_FILE_H

#include "common/base/log.h"
#include "deliverer/core/journal.h"

struct dlv_journal_dir {
    int lock_fd;
    char *path;
    struct dlv_journal_record *records; /* of earlier processes */
    size_t n;
    char **files; /* that hold them */
    size_t n_files;
};
/* PR_ECONFLICT: another process runs here. Logs what went wrong and what was found. */
PR_MUST_USE int dlv_journal_dir_open(const char *data_dir, struct pr_log *log, struct dlv_journal_dir *ret);
/* The old records are settled. Idempotent. */
void dlv_journal_dir_forget(struct dlv_journal_dir *d);
void dlv_journal_dir_close(struct dlv_journal_dir *d);

enum { DLV_JOURNAL_NO_SLOT = UINT32_MAX };
struct dlv_journal_file {
    uint8_t *map;
    uint32_t slots;
    uint32_t *free_slots;
    uint32_t n_free;
    char *path;
};
PR_MUST_USE int dlv_journal_file_open(const struct dlv_journal_dir *d, uint64_t boot_id, unsigned lane, uint32_t slots,
                                      struct dlv_journal_file *ret);
/* Writes the record into *slot, taking one if it is DLV_JOURNAL_NO_SLOT. */
void dlv_journal_put(struct dlv_journal_file *f, uint32_t *slot, const struct dlv_journal_record *r);
/* Empties the slot. DLV_JOURNAL_NO_SLOT is a no-op. */
void dlv_journal_drop(struct dlv_journal_file *f, uint32_t *slot);
/* Removes the file when it holds nothing any more. */
void dlv_journal_file_close(struct dlv_journal_file *f);

#endif
