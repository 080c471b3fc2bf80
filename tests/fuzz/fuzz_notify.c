/*
 * What a component may send to its notify socket: any bytes are a valid argument, and what is
 * understood of them stays within its bounds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "components/notify_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct notify_packet *p) {
        size_t length = strnlen(p->status, sizeof(p->status));

        if (length == sizeof(p->status) || (length > 0 && !(p->flags & NOTIFY_HAS_STATUS)))
                abort();
        for (size_t i = 0; i < length; i++)
                if ((unsigned char) p->status[i] < ' ')
                        abort();
        if (!name_is_valid(p->fd_name, strnlen(p->fd_name, sizeof(p->fd_name))))
                abort();
        if (p->error < 0 || p->error > 4095)
                abort();
        if (p->exit_status < 0 || p->exit_status > 255)
                abort();
        if (p->flags & NOTIFY_HAS_MAIN_PID && p->main_pid <= 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        /* A copy of its own size, watched by the sanitizer at both ends. */
        char *copy = malloc(size ? size : 1);
        struct notify_packet packet;
        const char *ignored;
        size_t length;

        if (!copy)
                return 0;
        memcpy(copy, data, size);
        if (notify_packet_parse(copy, size, &packet, &ignored, &length) == 0) {
                check(&packet);
                if (ignored && (ignored < copy || ignored + length > copy + size))
                        abort();
        } else if (size > 0 && !memchr(copy, '\0', size)) {
                abort(); /* nothing else is refused */
        }
        free(copy);
        return 0;
}
