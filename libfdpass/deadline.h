/* A point in time of CLOCK_MONOTONIC, in microseconds, that all steps of one call share. */
#ifndef FDPASS_DEADLINE_H
#define FDPASS_DEADLINE_H

#include <limits.h>
#include <stdint.h>
#include <sys/time.h>
#include <time.h>

#define DEADLINE_NEVER INT64_MAX

static inline int64_t clock_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
        return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* -1 is for ever, as in poll(2). */
static inline int64_t deadline_in(int milliseconds) {
        return milliseconds < 0 ? DEADLINE_NEVER : clock_usec() + (int64_t) milliseconds * 1000;
}

/* Microseconds left; 0 when it has passed. */
static inline int64_t deadline_remaining(int64_t deadline) {
        if (deadline == DEADLINE_NEVER)
                return deadline;
        int64_t left = deadline - clock_usec();
        return left > 0 ? left : 0;
}

/* What is left, as a timeout of poll(2): rounded up, so that a wake-up is never early. */
static inline int deadline_poll(int64_t deadline) {
        int64_t left = deadline_remaining(deadline);

        if (left == DEADLINE_NEVER)
                return -1;
        return left / 1000 >= INT_MAX ? INT_MAX : (int) ((left + 999) / 1000);
}

/* For SO_SNDTIMEO and SO_RCVTIMEO, where 0 means for ever: so never 0 for a passed deadline. */
static inline struct timeval usec_timeval(int64_t usec) {
        if (usec == DEADLINE_NEVER)
                return (struct timeval){0};
        return (struct timeval){.tv_sec = usec / 1000000, .tv_usec = usec > 0 ? usec % 1000000 : 1};
}

#endif
