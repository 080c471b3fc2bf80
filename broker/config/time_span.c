/* Reading and writing spans of time. Integers only: 0.1s is 100000 us and no rounding error. */
#include "config/time_span.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "config/component_config.h"

#define USEC UINT64_C(1)
#define MSEC (1000 * USEC)
#define SEC (1000 * MSEC)
#define MINUTE (60 * SEC)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define WEEK (7 * DAY)
#define YEAR (UINT64_C(31557600) * SEC)
#define MONTH (YEAR / 12)

static const struct {
        const char *name;
        uint64_t usec;
} units[] = {
        {"usec", USEC},    {"us", USEC},     {"\u00b5s", USEC},   {"\u03bcs", USEC},
        {"msec", MSEC},    {"ms", MSEC},     {"seconds", SEC},    {"second", SEC},
        {"sec", SEC},      {"s", SEC},       {"minutes", MINUTE}, {"minute", MINUTE},
        {"min", MINUTE},   {"m", MINUTE},    {"hours", HOUR},     {"hour", HOUR},
        {"hr", HOUR},      {"h", HOUR},      {"days", DAY},       {"day", DAY},
        {"d", DAY},        {"weeks", WEEK},  {"week", WEEK},      {"w", WEEK},
        {"months", MONTH}, {"month", MONTH}, {"M", MONTH},        {"years", YEAR},
        {"year", YEAR},    {"y", YEAR},
};

static int find_unit(const char *name, size_t length, uint64_t *ret) {
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
                if (strlen(units[i].name) == length && memcmp(units[i].name, name, length) == 0) {
                        *ret = units[i].usec;
                        return 0;
                }
        return -EINVAL;
}

static int read_digits(const char **p, uint64_t *ret) {
        uint64_t n = 0;

        for (; **p >= '0' && **p <= '9'; (*p)++) {
                if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
                    __builtin_add_overflow(n, (uint64_t) (**p - '0'), &n))
                        return -ERANGE;
        }
        *ret = n;
        return 0;
}

/* What the digits behind the point are of `unit`; those below a microsecond do not count. */
static uint64_t fraction_of(const char *digits, size_t n, uint64_t unit) {
        uint64_t sum = 0;

        for (size_t i = 0; i < n && unit >= 10; i++) {
                sum += (uint64_t) (digits[i] - '0') * (unit / 10);
                unit /= 10;
        }
        return sum;
}

/* One number with its unit, such as "1.5 h". */
static int read_part(const char **p, uint64_t default_unit, uint64_t *sum) {
        const char *begin = *p, *fraction;
        size_t n_fraction = 0, length;
        uint64_t whole, unit = default_unit, add;
        int r = read_digits(p, &whole);

        if (r < 0)
                return r;
        fraction = *p;
        if (**p == '.') {
                fraction = ++*p;
                n_fraction = strspn(fraction, "0123456789");
                *p += n_fraction;
        }
        if (*p == begin || (n_fraction == 0 && fraction != begin && fraction[-1] == '.'))
                return -EINVAL;
        *p += strspn(*p, " \t");
        length = strcspn(*p, " \t0123456789.");
        if (length > 0 && find_unit(*p, length, &unit) < 0)
                return -EINVAL;
        *p += length;
        *p += strspn(*p, " \t");
        if (__builtin_mul_overflow(whole, unit, &whole) ||
            __builtin_add_overflow(whole, fraction_of(fraction, n_fraction, unit), &add) ||
            __builtin_add_overflow(*sum, add, sum) || *sum == USEC_INFINITY)
                return -ERANGE;
        return 0;
}

int time_span_parse(const char *text, uint64_t default_unit_usec, uint64_t *ret) {
        uint64_t sum = 0;

        if (strcmp(text, "infinity") == 0) {
                *ret = USEC_INFINITY;
                return 0;
        }
        text += strspn(text, " \t");
        do {
                int r = read_part(&text, default_unit_usec, &sum);

                if (r < 0)
                        return r;
        } while (*text);
        *ret = sum;
        return 0;
}

const char *time_span_text(uint64_t usec, char ret[TIME_SPAN_TEXT_SIZE]) {
        if (usec == USEC_INFINITY)
                (void) snprintf(ret, TIME_SPAN_TEXT_SIZE, "infinity");
        else if (usec % SEC == 0)
                (void) snprintf(ret, TIME_SPAN_TEXT_SIZE, "%" PRIu64 "s", usec / SEC);
        else if (usec % MSEC == 0)
                (void) snprintf(ret, TIME_SPAN_TEXT_SIZE, "%" PRIu64 "ms", usec / MSEC);
        else
                (void) snprintf(ret, TIME_SPAN_TEXT_SIZE, "%" PRIu64 "us", usec);
        return ret;
}
