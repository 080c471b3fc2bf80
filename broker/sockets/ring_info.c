/*
 * The file has a part for each kind of thing, of which two are of interest:
 *
 *      UserFiles:      64
 *          0: socket:[71234]
 *      PollList:
 *        op=13, task_works=0
 *
 * Until some version in between, the name of a socket was its protocol, "TCP" or "UNIX-STREAM".
 */
#include "sockets/ring_info.h"

#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>

/* "    0: NAME": a socket's inode; false for what is none. */
static bool is_socket(const char *line, uint32_t *ret_inode) {
        static const char *const protocols[] = {"TCP", "MPTCP", "UNIX"};
        const char *name;
        int length = 0;

        if (sscanf(line, " %*u: %n", &length) != 0 || length == 0)
                return false;
        name = line + length;
        if (sscanf(name, "socket:[%" SCNu32 "]", ret_inode) == 1)
                return true;
        *ret_inode = 0;
        for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
                if (strncmp(name, protocols[i], strlen(protocols[i])) == 0)
                        return true;
        return false;
}

int ring_info_read(pid_t pid, const char *entry, ring_socket_handler *handler, void *owner,
                   bool *ret_accepts) {
        bool in_files = false;
        char path[64], line[256];
        int opcode, r = 0;
        uint32_t inode;
        FILE *f;

        *ret_accepts = false;
        (void) snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.16s", (int) pid, entry);
        f = fopen(path, "re");
        if (!f)
                return 0; /* it has ended, or is none of ours to look into */
        while (r == 0 && fgets(line, sizeof(line), f)) {
                if (line[0] != ' ')
                        in_files = strncmp(line, "UserFiles:", 10) == 0;
                else if (in_files && is_socket(line, &inode))
                        r = handler(owner, inode);
                else if (sscanf(line, " op=%d,", &opcode) == 1 && opcode == IORING_OP_ACCEPT)
                        *ret_accepts = true;
        }
        (void) fclose(f);
        return r;
}
