/* fsync_probe - what the disk can do just now: PROCESSES each create, write SIZE octets, fsync and close FILES files.
 *
 * usage: fsync_probe DIRECTORY PROCESSES FILES SIZE
 * Prints `{"rate":files/s,"p50_ms":..,"p99_ms":..}`. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/slice.h"

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void name_of(char out[400], const char *directory, uint64_t process, uint64_t file)
{
    (void)snprintf(out, 400, "%s/%llu_%llu", directory, (unsigned long long)process, (unsigned long long)file);
}

/* One process: a line of the table of latencies. */
static int write_files(const char *directory, uint64_t process, uint64_t files, size_t size, double *latency)
{
    char name[400];
    char *data = pr_calloc(1, size);
    for (uint64_t i = 0; i < files; i++) {
        double start = now();
        name_of(name, directory, process, i);
        int fd = open(name, O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, data, size) != (ssize_t)size || fsync(fd) != 0 || close(fd) != 0) {
            perror(name);
            return 1;
        }
        latency[i] = now() - start;
    }
    pr_free(data);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t processes, files, size;
    if (argc != 5 || pr_parse_u64(pr_slice_str(argv[2]), 64, &processes) != 0 ||
        pr_parse_u64(pr_slice_str(argv[3]), 100000, &files) != 0 || pr_parse_u64(pr_slice_str(argv[4]), 1 << 24, &size) != 0 ||
        processes * files == 0) {
        (void)fprintf(stderr, "usage: fsync_probe DIRECTORY PROCESSES FILES SIZE\n");
        return 2;
    }
    size_t n = (size_t)(processes * files);
    double *latency = mmap(NULL, n * sizeof *latency, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (latency == MAP_FAILED || (mkdir(argv[1], 0700) != 0 && errno != EEXIST)) {
        perror(argv[1]);
        return 1;
    }
    double start = now();
    for (uint64_t p = 0; p < processes; p++)
        if (fork() == 0)
            _exit(write_files(argv[1], p, files, (size_t)size, latency + p * files));
    int status, bad = 0;
    while (wait(&status) > 0)
        bad |= status;
    double seconds = now() - start;
    char name[400];
    for (uint64_t p = 0; p < processes; p++)
        for (uint64_t i = 0; i < files; i++) {
            name_of(name, argv[1], p, i);
            (void)unlink(name);
        }
    qsort(latency, n, sizeof *latency, compare);
    (void)printf("{\"rate\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n", (double)n / seconds, latency[n / 2] * 1e3,
                 latency[n * 99 / 100] * 1e3);
    return bad == 0 ? 0 : 1;
}
