/* What others wrote, byte by byte: is it text, and what would it do to a terminal? */
#ifndef CORE_UTF8_H
#define CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The size of what is NUL-terminated: it is not read beyond its end. */
#define UTF8_TERMINATED SIZE_MAX

/*
 * The code point at the beginning of `size` bytes. Returns how many bytes it has; 0 when there is
 * none that is well-formed (RFC 3629: shortest form, no surrogates, at most U+10FFFF), or it is
 * NUL.
 */
size_t utf8_decode(const char *text, size_t size, uint32_t *ret);

/* C0, DEL and C1 controls, line and paragraph separators, and what turns the direction of text. */
bool utf8_steers_terminal(uint32_t code);
/* C1 controls alone, U+0080 to U+009F; U+009B is to a terminal what "ESC [" is. */
bool utf8_is_c1_control(uint32_t code);

#endif
