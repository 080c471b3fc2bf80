/* What the benchmark programs share: time, one CPU, samples, and the way to give up. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>

/* Print "PROGRAM: sentence" and exit with 1: a benchmark has nobody to hand an error to. */
void give_up(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* The same, with ": " and what errno says at the end. */
void give_up_errno(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

uint64_t now_nsec(void); /* CLOCK_MONOTONIC */

/* Run on this CPU only; -1 leaves it to the kernel. Children inherit it. */
void pin_to_cpu(int cpu);

/* The option's value as a number from 0 to max, or give up. */
uint64_t number_option(const char *name, const char *value, uint64_t max);

/* Durations in nanoseconds, as many as there is room for; more are counted and not kept. */
struct samples {
        uint32_t *values;
        size_t n, room;
};

void samples_init(struct samples *s, size_t room);
void samples_free(struct samples *s);
void samples_add(struct samples *s, uint64_t nsec);

/* Sorts. per_mille 500 is the median; 0 when there are no samples. */
uint32_t samples_quantile(struct samples *s, unsigned per_mille);

/* Sorts the array. */
double median(double *values, size_t n);

#endif
