/* Text for people: what may go to a terminal, how long ago, in which colour, and whether it got
 * out. */
#ifndef CLI_DISPLAY_H
#define CLI_DISPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* In the order of the words of --color. */
enum color_when { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

/*
 * A copy in which nothing can steer a terminal: control characters, bytes that are not UTF-8,
 * characters that turn the direction of writing, and the backslash itself become \n, \x1b, \\ and
 * so on. Outside a UTF-8 locale everything beyond ASCII does. For the caller to free(3); NULL when
 * out of memory.
 */
char *display_escape(const char *text);

#define DISPLAY_AGE_SIZE 32

/* "3s", "12min", "2h 5min", "4d 3h"; "now" also when the clock was set back. Returns ret. */
const char *display_age(uint64_t since_usec, uint64_t now_usec, char ret[DISPLAY_AGE_SIZE]);

/* Colour into `stream`? Automatic: a terminal, no NO_COLOR, and not TERM=dumb. */
bool display_color(enum color_when when, FILE *stream);

/* "fdpass: …" to stderr, escaped. */
void display_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "FILE:LINE: error: …"; file may be NULL, line 0. */
void display_diagnostic(FILE *stream, bool color, bool is_error, const char *file, uint64_t line,
                        const char *text);

/*
 * Did all output get out? Flushes and closes stdout. A full disk or a closed pipe is said and makes
 * `status` 1 when it was 0.
 */
int display_finish(int status);

#endif
