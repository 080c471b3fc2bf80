/* Plain values: total functions over NUL-terminated text, without any state. See values.h. */
#include "config/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int value_to_bool(const char *value, bool *ret) {
        static const struct {
                const char *text;
                bool value;
        } words[] = {
                {"1", true},  {"yes", true},    {"y", true},  {"true", true},
                {"t", true},  {"on", true},     {"0", false}, {"no", false},
                {"n", false}, {"false", false}, {"f", false}, {"off", false},
        };

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (strcasecmp(value, words[i].text) == 0) {
                        *ret = words[i].value;
                        return 0;
                }
        return -EINVAL;
}

int value_to_number(const char *value, uint64_t min, uint64_t max, uint64_t *ret) {
        uint64_t n = 0;

        if (!*value)
                return -EINVAL;
        for (const char *p = value; *p; p++) {
                if (*p < '0' || *p > '9')
                        return -EINVAL;
                if (n > (UINT64_MAX - 9) / 10)
                        return -ERANGE;
                n = n * 10 + (uint64_t) (*p - '0');
        }
        if (n < min || n > max)
                return -ERANGE;
        *ret = n;
        return 0;
}

int value_to_mode(const char *value, mode_t *ret) {
        mode_t mode = 0;

        if (!*value)
                return -EINVAL;
        for (const char *p = value; *p; p++) {
                if (*p < '0' || *p > '7')
                        return -EINVAL;
                mode = mode * 8 + (mode_t) (*p - '0');
                if (mode > 07777)
                        return -EINVAL;
        }
        *ret = mode;
        return 0;
}

size_t value_utf8_length(const char *data, size_t size) {
        static const struct {
                unsigned char first, last; /* range of the first byte */
                unsigned char low, high;   /* range of the second: no overlong forms, surrogates */
                size_t length;
        } forms[] = {
                {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
                {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
                {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
        };

        const unsigned char *p = (const unsigned char *) data;

        if (size == 0 || p[0] == 0)
                return 0;
        if (p[0] < 0x80)
                return 1;
        for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
                if (p[0] < forms[i].first || p[0] > forms[i].last)
                        continue;
                if (size < forms[i].length || p[1] < forms[i].low || p[1] > forms[i].high)
                        return 0;
                for (size_t k = 2; k < forms[i].length; k++)
                        if (p[k] < 0x80 || p[k] > 0xbf)
                                return 0;
                return forms[i].length;
        }
        return 0;
}

bool value_is_utf8(const char *data, size_t size) {
        while (size > 0) {
                /* Nearly all of it is ASCII. */
                size_t length = *data > 0 ? 1 : value_utf8_length(data, size);

                if (length == 0)
                        return false;
                data += length;
                size -= length;
        }
        return true;
}

static bool ends_in_lone_backslash(const char *value, size_t length) {
        size_t n = 0;

        while (n < length && value[length - 1 - n] == '\\')
                n++;
        return n % 2 == 1;
}

bool value_is_text(const char *value) {
        size_t length = strlen(value);

        if (length == 0)
                return true;
        if (value[0] == ' ' || value[length - 1] == ' ' || ends_in_lone_backslash(value, length))
                return false;
        for (size_t i = 0; i < length; i++)
                if ((unsigned char) value[i] < 0x20 || value[i] == 0x7f)
                        return false;
        return value_is_utf8(value, length);
}
