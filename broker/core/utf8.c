/* See utf8.h. Terminals disagree about what is not well-formed, so it is never taken for text. */
#include "core/utf8.h"

/* By the first byte; 0: none begins like this. */
static size_t length_of(unsigned char first) {
        return first == 0     ? 0
               : first < 0x80 ? 1
               : first < 0xc2 ? 0
               : first < 0xe0 ? 2
               : first < 0xf0 ? 3
               : first < 0xf5 ? 4
                              : 0;
}

size_t utf8_decode(const char *text, size_t size, uint32_t *ret) {
        static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
        const unsigned char *s = (const unsigned char *) text;
        size_t length = size > 0 ? length_of(s[0]) : 0;
        uint32_t code;

        if (length == 0 || length > size)
                return 0;
        code = length == 1 ? s[0] : s[0] & (0xffU >> (length + 1));
        for (size_t i = 1; i < length; i++) {
                if ((s[i] & 0xc0) != 0x80) /* a NUL, too: nothing behind it is read */
                        return 0;
                code = code << 6 | (s[i] & 0x3f);
        }
        if (code < lowest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
                return 0;
        *ret = code;
        return length;
}

bool utf8_steers_terminal(uint32_t c) {
        return c < 0x20 || c == 0x7f || utf8_is_c1_control(c) || c == 0x200e || c == 0x200f ||
               c == 0x061c || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

bool utf8_is_c1_control(uint32_t c) {
        return c >= 0x80 && c <= 0x9f;
}
