/* Plain values: total functions over NUL-terminated text, without any state. See values.h. */
#include "config/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/utf8.h"

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

bool value_is_utf8(const char *data, size_t size) {
        while (size > 0) {
                /* Nearly all of it is ASCII. */
                uint32_t code;
                size_t length = (signed char) *data > 0 ? 1 : utf8_decode(data, size, &code);

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

bool value_is_variable_name(const char *text, size_t length) {
        if (length == 0 || (*text >= '0' && *text <= '9'))
                return false;
        for (const char *p = text; p < text + length; p++)
                if (!((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
                      (*p >= '0' && *p <= '9') || *p == '_'))
                        return false;
        return true;
}
