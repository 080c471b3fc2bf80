/*
 * What one packet of sd_notify(3) says. Programs of all kinds write these, so more is tolerated
 * than in a request (grammar.h): a key that we do not know, a line that is no assignment, empty
 * lines, a missing newline, and a key that is repeated (the first one counts, as in systemd) are no
 * reason to lose the rest of the packet.
 */
#ifndef COMPONENTS_NOTIFY_PACKET_H
#define COMPONENTS_NOTIFY_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fd_list.h"
#include "names.h"

#define NOTIFY_STATUS_SIZE 256

#define NOTIFY_ERROR_MAX 4095 /* MAX_ERRNO of the kernel */
#define NOTIFY_EXIT_STATUS_MAX 255

enum notify_flags {
        NOTIFY_READY = 1,         /* READY=1 */
        NOTIFY_RELOADING = 2,     /* RELOADING=1 */
        NOTIFY_WATCHDOG = 4,      /* WATCHDOG=1 */
        NOTIFY_TRIGGER = 8,       /* WATCHDOG=trigger */
        NOTIFY_HAS_STATUS = 16,   /* STATUS= */
        NOTIFY_HAS_EXTEND = 32,   /* EXTEND_TIMEOUT_USEC= */
        NOTIFY_HAS_MAIN_PID = 64, /* MAINPID= */
        NOTIFY_STORE = 128,       /* FDSTORE=1 with its descriptors */
        NOTIFY_REMOVE = 256,      /* FDSTOREREMOVE=1 */
        NOTIFY_HAS_WATCHDOG_USEC = 512,
        NOTIFY_STOPPING = 1024, /* STOPPING=1 */
        NOTIFY_HAS_EXIT_STATUS = 2048,
        NOTIFY_UNPOLLED = 4096, /* FDPOLL=0: stored also when its other end has hung up */
};

struct notify_packet {
        unsigned flags;
        char status[NOTIFY_STATUS_SIZE]; /* one line without control characters; cut to fit */
        uint64_t extend_usec, watchdog_usec;
        pid_t main_pid;
        int error;                         /* ERRNO=, 0 when not said */
        int exit_status;                   /* EXIT_STATUS= */
        char fd_name[NAME_LENGTH_MAX + 1]; /* FDNAME=; "stored" when there is none */
        struct fd_list *fds; /* of NOTIFY_STORE: to be moved out; the rest is disposed of */
};

/*
 * Total: any bytes either give a packet or -EBADMSG (a NUL in it, or nothing at all; *ret is
 * undefined). *ret_ignored: the first assignment of a known key whose value is not one, NULL when
 * there is none; such a one counts as not said. It is `size` bytes of `data` at most, not
 * terminated. fds is the caller's to set.
 */
int notify_packet_parse(const char *data, size_t size, struct notify_packet *ret,
                        const char **ret_ignored, size_t *ret_ignored_length);

#endif
