/*
 * What stands after the '=': truth values, numbers, modes, words. Every function takes the whole
 * value or fails: there is no "12abc" that reads as 12.
 */
#ifndef CONFIG_VALUES_H
#define CONFIG_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* 1 yes y true t on, 0 no n false f off, in any case. 0 or -EINVAL. */
int value_to_bool(const char *value, bool *ret);

/* Decimal digits only. 0, -EINVAL, or -ERANGE when it is not in [min, max]. */
int value_to_number(const char *value, uint64_t min, uint64_t max, uint64_t *ret);

/* Octal, at most 07777. 0 or -EINVAL. */
int value_to_mode(const char *value, mode_t *ret);

/*
 * The next word of a list, which words are separated by white space; quotes and escapes as in
 * systemd.syntax(7). *ret is for the caller to free(3).
 *
 * Returns 1 with *cursor behind the word; 0 when there is none left; -EINVAL for a quote that is
 * not closed, text behind a closing quote, an unknown escape or one that gives NUL; -ENOMEM.
 */
int value_next_word(const char **cursor, char **ret);

/*
 * The next word of a command line or of Environment=. As value_next_word(), but quotes may stand
 * within a word, which systemd takes, too: --name="a b". `relaxed`: an unknown escape stands for
 * itself.
 */
int value_next_argument(const char **cursor, bool relaxed, char **ret);

/* Letters, digits and '_' without a digit in front: the first `length` bytes. */
bool value_is_variable_name(const char *text, size_t length);

/* Well-formed UTF-8 as RFC 3629 has it, without NUL. */
bool value_is_utf8(const char *data, size_t size);

/*
 * Can a line of configuration hold this, so that reading it gives the same? UTF-8 without control
 * characters, no white space at either end, no lone backslash at the end. Values that were read
 * from a file always pass; expanded specifiers need not.
 */
bool value_is_text(const char *value);

#endif
