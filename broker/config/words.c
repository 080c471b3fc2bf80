/*
 * Splitting a value into words, with the quotes and escapes of systemd.syntax(7). The word is built
 * in a buffer as long as what is left of the value: an escape is never shorter than what it stands
 * for.
 */
#include "config/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define WHITESPACE " \t"

static int digit_of(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return 16;
}

/* Exactly `n` digits of `base` at p. */
static int parse_code(const char *p, int n, int base, uint32_t *ret) {
        uint32_t code = 0;

        for (int i = 0; i < n; i++) {
                int digit = digit_of(p[i]); /* of NUL: none, so we stop at the end of the value */

                if (digit >= base)
                        return -EINVAL;
                code = code * (uint32_t) base + (uint32_t) digit;
        }
        *ret = code;
        return 0;
}

static size_t put_utf8(uint32_t code, char *out) {
        if (code < 0x80) {
                out[0] = (char) code;
                return 1;
        }
        if (code < 0x800) {
                out[0] = (char) (0xc0 | code >> 6);
                out[1] = (char) (0x80 | (code & 0x3f));
                return 2;
        }
        if (code < 0x10000) {
                out[0] = (char) (0xe0 | code >> 12);
                out[1] = (char) (0x80 | (code >> 6 & 0x3f));
                out[2] = (char) (0x80 | (code & 0x3f));
                return 3;
        }
        out[0] = (char) (0xf0 | code >> 18);
        out[1] = (char) (0x80 | (code >> 12 & 0x3f));
        out[2] = (char) (0x80 | (code >> 6 & 0x3f));
        out[3] = (char) (0x80 | (code & 0x3f));
        return 4;
}

struct numeric_escape {
        int skip, digits, base;
        bool is_unicode;
};

static struct numeric_escape numeric_escape_of(char c) {
        if (c == 'x')
                return (struct numeric_escape){1, 2, 16, false};
        if (c == 'u')
                return (struct numeric_escape){1, 4, 16, true};
        if (c == 'U')
                return (struct numeric_escape){1, 8, 16, true};
        return (struct numeric_escape){0, 3, 8, false};
}

static int unescape_number(const char **p, char *out, size_t *length) {
        struct numeric_escape e = numeric_escape_of(**p);
        uint32_t code = 0;

        if (parse_code(*p + e.skip, e.digits, e.base, &code) < 0 || code == 0)
                return -EINVAL;
        if (e.is_unicode && (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)))
                return -EINVAL;
        if (!e.is_unicode && code > 0xff)
                return -EINVAL;
        if (e.is_unicode)
                *length += put_utf8(code, out + *length);
        else
                out[(*length)++] = (char) code;
        *p += e.skip + e.digits;
        return 0;
}

/* *p stands behind the backslash. */
static int unescape(const char **p, char *out, size_t *length) {
        static const char letters[] = "abfnrtv\\\"'s";
        static const char meanings[] = "\a\b\f\n\r\t\v\\\"' ";
        const char *letter = **p ? strchr(letters, **p) : NULL;

        if (!letter)
                return unescape_number(p, out, length);
        out[(*length)++] = meanings[letter - letters];
        (*p)++;
        return 0;
}

static bool is_end(char c) {
        return c == '\0' || strchr(WHITESPACE, c);
}

/* Go to the next word and make room for it: 1; 0 when there is none; -ENOMEM. */
static int begin_word(const char **cursor, char **ret) {
        *cursor += strspn(*cursor, WHITESPACE);
        if (!**cursor)
                return 0;
        *ret = malloc(strlen(*cursor) + 1);
        return *ret ? 1 : -ENOMEM;
}

int value_next_word(const char **cursor, char **ret) {
        _cleanup_free_ char *word = NULL;
        size_t length = 0;
        char quote = '\0';
        int r = begin_word(cursor, &word);
        const char *p = *cursor;

        if (r <= 0)
                return r;
        if (*p == '"' || *p == '\'')
                quote = *p++;
        while (quote ? *p != quote : !is_end(*p)) {
                if (!*p)
                        return -EINVAL; /* the quote is not closed */
                if (*p != '\\') {
                        word[length++] = *p++;
                        continue;
                }
                p++;
                if (unescape(&p, word, &length) < 0)
                        return -EINVAL;
        }
        if (quote && !is_end(*++p))
                return -EINVAL;
        word[length] = '\0';
        *cursor = p;
        *ret = word;
        word = NULL;
        return 1;
}

int value_next_argument(const char **cursor, bool relaxed, char **ret) {
        _cleanup_free_ char *word = NULL;
        size_t length = 0;
        char quote = '\0';
        int r = begin_word(cursor, &word);
        const char *p = *cursor;

        if (r <= 0)
                return r;
        while (*p && (quote || !is_end(*p))) {
                if (quote ? *p == quote : *p == '"' || *p == '\'') {
                        quote = quote ? '\0' : *p;
                        p++;
                } else if (*p != '\\') {
                        word[length++] = *p++;
                } else {
                        p++;
                        if (unescape(&p, word, &length) == 0)
                                continue;
                        if (!relaxed)
                                return -EINVAL;
                        word[length++] = '\\';
                }
        }
        if (quote)
                return -EINVAL;
        word[length] = '\0';
        *cursor = p;
        *ret = word;
        word = NULL;
        return 1;
}
