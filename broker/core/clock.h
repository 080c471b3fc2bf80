/* Clocks. What a loop waits for goes by loop_now_usec() instead. */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* In microseconds. */
static inline uint64_t clock_get_usec(clockid_t clock) {
        struct timespec now;

        (void) clock_gettime(clock, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

/* For people and records: it may be set. */
static inline uint64_t clock_realtime_usec(void) {
        return clock_get_usec(CLOCK_REALTIME);
}

/* For how long something takes. */
static inline uint64_t clock_monotonic_usec(void) {
        return clock_get_usec(CLOCK_MONOTONIC);
}

#endif
