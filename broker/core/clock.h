/* The wall clock, for people and records; what is waited for goes by loop_now_usec(). */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_REALTIME in microseconds. */
static inline uint64_t clock_realtime_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

#endif
