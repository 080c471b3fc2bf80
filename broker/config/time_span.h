/* Spans of time as systemd.time(7) writes them: "1min 20s", "500ms", "1.5h", "infinity". */
#ifndef CONFIG_TIME_SPAN_H
#define CONFIG_TIME_SPAN_H

#include <stdint.h>

#define TIME_SPAN_TEXT_SIZE 32

/*
 * Read `text` to microseconds; "infinity" is USEC_INFINITY of component_config.h. A number without
 * a unit counts `default_unit_usec`. 0, -EINVAL, or -ERANGE when it is longer than can be said.
 */
int time_span_parse(const char *text, uint64_t default_unit_usec, uint64_t *ret);

/* The shortest exact way to write it: "90s", "100ms", "7us", "infinity". */
const char *time_span_text(uint64_t usec, char ret[TIME_SPAN_TEXT_SIZE]);

#endif
