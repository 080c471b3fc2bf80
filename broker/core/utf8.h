/* What others wrote, byte by byte: is it text? */
#ifndef CORE_UTF8_H
#define CORE_UTF8_H

#include <stddef.h>

/* Length of the UTF-8 sequence at s (RFC 3629: shortest form, no surrogates), 0 when it is none. */
static inline size_t utf8_length(const unsigned char *s) {
        size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

        if (s[0] > 0xf4)
                return 0;
        /* A NUL ends the string and is no continuation byte, so this never reads beyond it. */
        for (size_t i = 1; i < n; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
            (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
                return 0;
        return n;
}

#endif
