/*
 * What a listener may be called. An allow-list, because names end up in LISTEN_FDNAMES, in file
 * names and in messages: whatever means something in one of these is not in it.
 */
#include "names.h"

#include <string.h>

static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-";

bool name_is_valid(const char *name, size_t length) {
        if (length == 0 || length > NAME_LENGTH_MAX || name[0] == '.' || name[0] == '-')
                return false;
        for (size_t i = 0; i < length; i++)
                if (!memchr(allowed, name[i], sizeof(allowed) - 1))
                        return false;
        return true;
}
