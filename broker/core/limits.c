/* The bounds, and how they are made to fit under RLIMIT_NOFILE. */
#include "core/limits.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "core/log.h"

static const struct limits defaults = {
        .listeners = 16384,
        .sessions = 4096,
        .sessions_per_user = 256,
        .leases_per_user = 4096,
        .answers_per_session = 16,
        .fds_in_flight_per_session = 504,
        .fds_in_flight = 4096,
        .stored = 8192,
        .stored_per_user = 1024,
        .stored_bytes_per_user = 1048576,
};

void limits_default(struct limits *ret) {
        *ret = defaults;
}

#define NOFILE_ENV "FDPASS_NOFILE"

rlim_t limits_raise_nofile(void) {
        struct rlimit r;
        char text[24];

        if (getrlimit(RLIMIT_NOFILE, &r) < 0)
                return 1024;
        (void) snprintf(text, sizeof(text), "%llu", (unsigned long long) r.rlim_cur);
        (void) setenv(NOFILE_ENV, text, 0); /* the first one's stays */
        if (r.rlim_cur < r.rlim_max) {
                struct rlimit raised = {.rlim_cur = r.rlim_max, .rlim_max = r.rlim_max};
                if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
                        return raised.rlim_cur;
        }
        return r.rlim_cur;
}

void limits_restore_nofile(void) {
        const char *text = getenv(NOFILE_ENV);
        unsigned long long before = text ? strtoull(text, NULL, 10) : 0;
        struct rlimit r;

        if (before == 0 || getrlimit(RLIMIT_NOFILE, &r) < 0 || before >= r.rlim_cur)
                return;
        r.rlim_cur = before;
        (void) setrlimit(RLIMIT_NOFILE, &r);
}

static void clamp(unsigned *limit, unsigned by_default, rlim_t max, const char *what, rlim_t nofile,
                  struct log *log) {
        bool chosen = *limit != by_default;

        if (*limit <= max)
                return;
        /* Of interest only to who asked for more than there is. */
        log_write(log, chosen ? LEVEL_WARNING : LEVEL_DEBUG, NULL,
                  "limit of %s lowered from %u to %lu: RLIMIT_NOFILE is %lu; raise it "
                  "(LimitNOFILE= in the unit, ulimit -n in a shell) to have more",
                  what, *limit, (unsigned long) max, (unsigned long) nofile);
        *limit = (unsigned) max;
}

void limits_fit(struct limits *limits, struct log *log) {
        rlim_t nofile = limits_raise_nofile();
        rlim_t usable = nofile > 2 * LIMITS_RESERVE ? nofile - LIMITS_RESERVE : LIMITS_RESERVE;

        if (nofile == RLIM_INFINITY)
                return;
        /*
         * Listeners first, they are what we are for. The rest is shared by sessions and the pidfds
         * of holders, half each. A limit is a bound, not a reservation: so no sum, but a share of
         * each.
         */
        clamp(&limits->listeners, defaults.listeners, usable - usable / 4, "listening sockets",
              nofile, log);
        clamp(&limits->sessions, defaults.sessions, usable / 4, "sessions", nofile, log);
        clamp(&limits->sessions_per_user, defaults.sessions_per_user, limits->sessions,
              "sessions of one user", nofile, log);
        clamp(&limits->leases_per_user, defaults.leases_per_user, usable / 4, "leases of one user",
              nofile, log);
        /* The kernel refuses what goes beyond RLIMIT_NOFILE with ETOOMANYREFS, unix(7). */
        clamp(&limits->fds_in_flight, defaults.fds_in_flight, usable / 2, "descriptors in flight",
              nofile, log);
        clamp(&limits->fds_in_flight_per_session, defaults.fds_in_flight_per_session,
              limits->fds_in_flight, "descriptors in flight to one session", nofile, log);
        clamp(&limits->stored, defaults.stored, usable / 4, "stored descriptors", nofile, log);
        clamp(&limits->stored_per_user, defaults.stored_per_user, limits->stored,
              "stored descriptors of one user", nofile, log);
}
