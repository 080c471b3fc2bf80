/*
 * Time, one CPU, samples. Samples are kept as 32 bits of nanoseconds, that is up to 4 seconds: what
 * takes longer is no sample but a failure.
 */
#include "measure.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list arguments) {
        (void) fprintf(stderr, "%s: ", program_invocation_short_name);
        (void) vfprintf(stderr, format, arguments);
}

void give_up(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        say(format, arguments);
        va_end(arguments);
        (void) fputc('\n', stderr);
        exit(1);
}

void give_up_errno(const char *format, ...) {
        int error = errno;
        va_list arguments;

        va_start(arguments, format);
        say(format, arguments);
        va_end(arguments);
        (void) fprintf(stderr, ": %s\n", strerror(error));
        exit(1);
}

uint64_t now_nsec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000U + (uint64_t) t.tv_nsec;
}

void pin_to_cpu(int cpu) {
        cpu_set_t set;

        if (cpu < 0)
                return;
        CPU_ZERO(&set);
        CPU_SET((size_t) cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                give_up_errno("--cpu %d: cannot run there", cpu);
}

uint64_t number_option(const char *name, const char *value, uint64_t max) {
        unsigned long long number;
        char *end;

        errno = 0;
        number = strtoull(value, &end, 10);
        if (errno || *end || *value < '0' || *value > '9' || number > max)
                give_up("--%s takes a number from 0 to %llu, not %s", name,
                        (unsigned long long) max, value);
        return number;
}

void samples_init(struct samples *s, size_t room) {
        *s = (struct samples){.values = calloc(room, sizeof(*s->values)), .room = room};
        if (!s->values)
                give_up("no memory for %zu samples", room);
}

void samples_free(struct samples *s) {
        free(s->values);
        *s = (struct samples){0};
}

void samples_add(struct samples *s, uint64_t nsec) {
        if (s->n < s->room)
                s->values[s->n++] = nsec < UINT32_MAX ? (uint32_t) nsec : UINT32_MAX;
}

static int compare_u32(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

uint32_t samples_quantile(struct samples *s, unsigned per_mille) {
        size_t i;

        if (s->n == 0)
                return 0;
        qsort(s->values, s->n, sizeof(*s->values), compare_u32);
        i = s->n * per_mille / 1000;
        return s->values[i < s->n ? i : s->n - 1];
}

static int compare_double(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return x < y ? -1 : x > y;
}

double median(double *values, size_t n) {
        if (n == 0)
                return 0;
        qsort(values, n, sizeof(*values), compare_double);
        return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
