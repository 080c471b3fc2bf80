/*
 * The kernel's answers to sock_diag questions: any bytes are a valid argument of the parser. The
 * corpus has real answers; what the handler gets must stay within its bounds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sockets/socket_diag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *owner, const struct diag_socket *s) {
        unsigned *count = owner;

        if (s->name_length > sizeof(s->name) || s->local_port > UINT16_MAX ||
            s->remote_port > UINT16_MAX)
                abort();
        for (size_t i = 0; i < s->n_clients; i++) /* within the answer */
                *(volatile uint32_t *) &(uint32_t){0} = s->clients[i];
        (*count)++;
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        /* A copy of its own size, aligned and watched by the sanitizer at both ends. */
        void *copy = malloc(size ? size : 1);
        unsigned count = 0;
        int r;

        if (!copy)
                return 0;
        memcpy(copy, data, size);
        r = socket_diag_parse(copy, size, 1, check, &count);
        /* Each socket takes at least a header and the smaller of the two messages. */
        if (r > 1 || count > size / 32)
                abort();
        free(copy);
        return 0;
}
