#include "deploy/cli/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "deploy/cli/cli.h"

enum { CHILDREN_MAX = 8, ARGS_MAX = 16, BACKOFF_FIRST_MS = 200, BACKOFF_MAX_MS = 30000, STABLE_MS = 10000, KILL_WAIT_MS = 5000 };

struct child {
    char *name;
    char *argv[ARGS_MAX];
    uint64_t stop_ms;
    pid_t pid; /* 0: not running */
    uint64_t started_ms, backoff_ms, start_at_ms;
    uint64_t kill_at_ms; /* while it is being stopped; 0: not */
};

struct supervisor {
    struct supervisor_options o;
    struct child children[CHILDREN_MAX];
    size_t n;
    int signal_fd;
    sigset_t old_mask;
    bool stopping, at_once;
    unsigned failures;
};

uint64_t supervisor_backoff(uint64_t last_ms, uint64_t ran_ms)
{
    if (ran_ms >= STABLE_MS || last_ms == 0)
        return BACKOFF_FIRST_MS;
    return PR_MIN(last_ms * 2, (uint64_t)BACKOFF_MAX_MS);
}

static void json_line(struct pr_buf *b, const char *when, enum pr_log_level level, const char *event,
                      const struct pr_log_field *fields)
{
    pr_buf_printf(b, "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"postrider\",\"event\":\"%s\"", when,
                  pr_log_level_names[level], event);
    for (; fields->type != PR_LOG_END; fields++) {
        pr_buf_printf(b, ",\"%s\":", fields->key);
        if (fields->type == PR_LOG_U64)
            pr_buf_u64(b, fields->u64);
        else
            pr_buf_json(b, pr_slice_str(fields->str));
    }
    pr_buf_str(b, "}\n");
}

/* One line in the form of the daemons' log. */
static void say_fields(const struct supervisor *s, enum pr_log_level level, const char *event,
                       const struct pr_log_field *fields)
{
    if (s->o.quiet)
        return;
    uint64_t now = cli_wall_ms();
    struct pr_civil t = pr_civil_utc((pr_wall){now});
    struct pr_buf b = {0}, when = {0};
    pr_buf_printf(&when, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", t.year, t.month, t.day, t.hour, t.minute, t.second,
                  (unsigned)(now % 1000));
    if (s->o.json) {
        json_line(&b, pr_buf_cstr(&when), level, event, fields);
    } else {
        pr_buf_printf(&b, "%s %s postrider %s", pr_buf_cstr(&when), pr_log_level_names[level], event);
        pr_log_text(&b, fields);
        pr_buf_char(&b, '\n');
    }
    (void)fwrite(b.ptr, 1, b.len, stderr);
    pr_buf_fini(&b);
    pr_buf_fini(&when);
}

#define say(s, level, event, ...)                                                                                    \
    say_fields((s), (level), (event), (const struct pr_log_field[]){__VA_ARGS__, {.key = NULL, .type = PR_LOG_END}})

int supervisor_new(const struct supervisor_options *o, struct supervisor **ret)
{
    struct supervisor *s = pr_new(struct supervisor);
    sigset_t mask;
    s->o = *o;
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGINT);
    (void)sigaddset(&mask, SIGHUP);
    (void)sigaddset(&mask, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &mask, &s->old_mask);
    s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0) {
        (void)sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
        pr_free(s);
        return PR_EIO;
    }
    *ret = s;
    return PR_OK;
}

void supervisor_free(struct supervisor *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n; i++) {
        struct child *c = &s->children[i];
        if (c->pid > 0) {
            (void)kill(c->pid, SIGKILL);
            (void)waitpid(c->pid, NULL, 0);
        }
        for (char **arg = c->argv; *arg != NULL; arg++)
            pr_free(*arg);
        pr_free(c->name);
    }
    (void)close(s->signal_fd);
    (void)sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
    pr_free(s);
}

void supervisor_add(struct supervisor *s, const char *name, const char *const *argv, uint64_t stop_ms)
{
    struct child *c = &s->children[s->n++];
    *c = (struct child){.name = pr_strdup(name), .stop_ms = stop_ms};
    for (size_t i = 0; argv[i] != NULL && i + 1 < ARGS_MAX; i++)
        c->argv[i] = pr_strdup(argv[i]);
}

/* In the child; does not return. Only async-signal-safe calls would be needed if we had threads; we have none. */
static void exec_child(const struct supervisor *s, struct child *c, pid_t parent)
{
    /* Opened before privileges go: the program may lie in a folder that the user cannot enter. */
    int program = open(c->argv[0], O_PATH | O_CLOEXEC);
    /* A group of its own: Ctrl-C reaches us alone, and we stop the children in order. */
    (void)setpgid(0, 0);
    (void)sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    if (s->o.log_fd >= 0 && dup2(s->o.log_fd, STDERR_FILENO) < 0)
        _exit(126);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(s->o.log_fd >= 0 ? STDERR_FILENO : null, STDOUT_FILENO);
    }
    if (s->o.uid != 0 &&
        (initgroups(s->o.user, s->o.gid) != 0 || setgid(s->o.gid) != 0 || setuid(s->o.uid) != 0)) {
        (void)fprintf(stderr, "postrider: cannot become user %s: %s\n", s->o.user, strerrordesc_np(errno));
        _exit(126);
    }
    /* Changing the user clears this, so it comes after. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(126);
    (void)execv(c->argv[0], c->argv);
    if (errno == EACCES && program >= 0)
        (void)fexecve(program, c->argv, environ);
    (void)fprintf(stderr, "postrider: cannot start %s: %s\n", c->argv[0], strerrordesc_np(errno));
    _exit(127);
}

static void start_child(struct supervisor *s, struct child *c)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        exec_child(s, c, parent);
    c->started_ms = cli_now_ms();
    if (pid < 0) {
        c->backoff_ms = supervisor_backoff(c->backoff_ms, 0);
        c->start_at_ms = c->started_ms + c->backoff_ms;
        say(s, PR_LOG_ERROR, "daemon_not_started", PR_S("name", c->name), PR_S("error", strerrordesc_np(errno)));
        return;
    }
    c->pid = pid;
    say(s, PR_LOG_INFO, "daemon_started", PR_S("name", c->name), PR_U("pid", pid));
}

static void on_exit_of(struct supervisor *s, struct child *c, int status)
{
    uint64_t now = cli_now_ms(), ran = now - c->started_ms;
    bool wanted = s->stopping;
    c->pid = 0;
    c->kill_at_ms = 0;
    c->backoff_ms = supervisor_backoff(c->backoff_ms, ran);
    c->start_at_ms = now + c->backoff_ms;
    if (!wanted)
        s->failures++;
    bool killed = WIFSIGNALED(status);
    say(s, wanted ? PR_LOG_INFO : PR_LOG_ERROR, "daemon_ended", PR_S("name", c->name), PR_U("ran_ms", ran),
        PR_U(killed ? "signal" : "code", killed ? WTERMSIG(status) : WEXITSTATUS(status)),
        PR_U("restart_ms", wanted ? 0 : c->backoff_ms));
}

static void reap(struct supervisor *s)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (size_t i = 0; i < s->n; i++)
            if (s->children[i].pid == pid)
                on_exit_of(s, &s->children[i], status);
}

static void signal_all(struct supervisor *s, int signal_nr)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->children[i].pid > 0)
            (void)kill(s->children[i].pid, signal_nr);
}

static void on_signal(struct supervisor *s, unsigned signal_nr)
{
    if (signal_nr == SIGHUP) {
        say(s, PR_LOG_INFO, "reload", PR_U("daemons", s->n));
        signal_all(s, SIGHUP);
    } else if (signal_nr != SIGCHLD) {
        supervisor_stop(s);
    }
}

void supervisor_stop(struct supervisor *s)
{
    if (s->stopping && !s->at_once) {
        /* A second SIGTERM makes a daemon leave at once; SIGKILL follows if it does not. */
        s->at_once = true;
        signal_all(s, SIGTERM);
        for (size_t i = 0; i < s->n; i++)
            s->children[i].kill_at_ms = cli_now_ms() + 1000;
    }
    s->stopping = true;
}

/* The first child that still runs gets its SIGTERM; a child whose time is over gets SIGKILL. */
static void continue_stop(struct supervisor *s)
{
    uint64_t now = cli_now_ms();
    for (size_t i = 0; i < s->n; i++) {
        struct child *c = &s->children[i];
        if (c->pid == 0)
            continue;
        if (c->kill_at_ms == 0) {
            c->kill_at_ms = now + c->stop_ms;
            (void)kill(c->pid, SIGTERM);
        } else if (now >= c->kill_at_ms) {
            say(s, PR_LOG_WARN, "daemon_killed", PR_S("name", c->name), PR_U("after_ms", c->stop_ms));
            (void)kill(c->pid, SIGKILL);
            c->kill_at_ms = now + KILL_WAIT_MS;
        }
        if (!s->at_once)
            return;
    }
}

static void start_due(struct supervisor *s)
{
    uint64_t now = cli_now_ms();
    for (size_t i = 0; i < s->n; i++)
        if (s->children[i].pid == 0 && now >= s->children[i].start_at_ms)
            start_child(s, &s->children[i]);
}

/* Until the next start or kill, at most wait_ms. */
static uint64_t next_wait(const struct supervisor *s, uint64_t wait_ms)
{
    uint64_t now = cli_now_ms();
    for (size_t i = 0; i < s->n; i++) {
        const struct child *c = &s->children[i];
        uint64_t at = c->pid == 0 && !s->stopping ? c->start_at_ms : c->kill_at_ms;
        if (at != 0)
            wait_ms = PR_MIN(wait_ms, at > now ? at - now : 0);
    }
    return wait_ms;
}

void supervisor_step(struct supervisor *s, uint64_t wait_ms)
{
    if (s->stopping)
        continue_stop(s);
    else
        start_due(s);
    struct pollfd p = {.fd = s->signal_fd, .events = POLLIN};
    (void)poll(&p, 1, (int)next_wait(s, wait_ms));
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        on_signal(s, info.ssi_signo);
    /* Several ends may share one SIGCHLD. */
    reap(s);
}

bool supervisor_stopping(const struct supervisor *s) { return s->stopping; }

bool supervisor_stopped(const struct supervisor *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->children[i].pid != 0)
            return false;
    return s->stopping;
}

unsigned supervisor_failures(const struct supervisor *s) { return s->failures; }
