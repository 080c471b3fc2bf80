/*
 * What a process says of itself: to its service manager by $NOTIFY_SOCKET, to the broker by NOTIFY.
 *
 * sd_notify(3) blocks when the service manager does not read. A program that serves must not hang
 * for a status line, so this one says -EAGAIN.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cleanup.h"
#include "connection.h"

#define STATUS_LENGTH_MAX 255

/* Its length for sendto(2), or -EINVAL: neither a path nor an abstract name ("@…"), or too long. */
static int notify_address(const char *name, struct sockaddr_un *ret) {
        size_t length = strlen(name);

        if ((name[0] != '/' && name[0] != '@') || length < 2 || length >= sizeof(ret->sun_path))
                return -EINVAL;
        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(ret->sun_path, name, length);
        if (name[0] == '@')
                ret->sun_path[0] = '\0';
        /* An abstract name is all the bytes up to the length, so no NUL may be counted in. */
        return (int) (offsetof(struct sockaddr_un, sun_path) + length + (name[0] == '/'));
}

int fdpass_notify(const char *assignments) {
        const char *name = secure_getenv("NOTIFY_SOCKET");
        struct sockaddr_un address;
        struct assignments parsed;
        _cleanup_close_ int fd = -1;
        int address_size;

        if (!assignments || grammar_parse(assignments, strlen(assignments), &parsed) < 0)
                return -EINVAL;
        if (!name)
                return 0;
        address_size = notify_address(name, &address);
        if (address_size < 0)
                return address_size;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (sendto(fd, assignments, strlen(assignments), MSG_NOSIGNAL, (struct sockaddr *) &address,
                   (socklen_t) address_size) < 0)
                return -errno;
        return 1;
}

static int call_notify(struct fdpass *c, const char *key, struct text value) {
        struct packet_writer request;
        int r;

        connection_begin(c);
        packet_begin(&request);
        packet_add(&request, "VERB", "NOTIFY");
        packet_add_text(&request, key, value);
        r = connection_call(c, &request, NULL, 0);
        if (r == 0)
                message_clear(&c->answer.message);
        return r;
}

int fdpass_ready(struct fdpass *c) {
        return c ? call_notify(c, "READY", (struct text){"1", 1}) : -EINVAL;
}

/* How much of the text to send: at most the limit, and not half of a UTF-8 character. */
static size_t status_length(const char *text) {
        size_t length = strnlen(text, STATUS_LENGTH_MAX + 1);

        if (length <= STATUS_LENGTH_MAX)
                return length;
        length = STATUS_LENGTH_MAX;
        while (length > 0 && ((unsigned char) text[length] & 0xc0) == 0x80)
                length--;
        return length;
}

int fdpass_status(struct fdpass *c, const char *text) {
        if (!c || !text || strchr(text, '\n'))
                return -EINVAL;
        return call_notify(c, "STATUS", (struct text){text, status_length(text)});
}
