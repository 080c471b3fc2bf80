/* What kept descriptors tell without the state document. See lost.h. */
#include "fdpassd/lost.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/kept_config.h"
#include "core/inherited.h"
#include "core/log.h"

/*
 * Others may have stored a memfd of that name with us; its owner is the user who made it. The name
 * is asked first, because fstat(2) of a foreign file could block.
 */
static bool is_our_config(int fd) {
        static const char name[] = "/memfd:" KEPT_CONFIG_MEMFD " (deleted)";
        char link[32], target[sizeof(name) + 1];
        struct stat st;
        ssize_t n;

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, target, sizeof(target));
        return n == (ssize_t) sizeof(name) - 1 && memcmp(target, name, sizeof(name) - 1) == 0 &&
               fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
}

int lost_find_config(const struct inherited *inherited, struct log *log, struct config **ret) {
        for (size_t i = 0; i < inherited_count(inherited); i++)
                if (is_our_config(inherited_peek_fd(inherited, i)))
                        return kept_config_read(inherited_peek_fd(inherited, i), log, ret);
        return -ENOENT;
}

/* The path of a control socket; false when it is no such thing. */
static bool control_path(int fd, struct sockaddr_un *ret) {
        socklen_t size = sizeof(*ret), option_size = sizeof(int);
        int type;

        *ret = (struct sockaddr_un){0};
        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &option_size) == 0 &&
               type == SOCK_SEQPACKET && getsockname(fd, (struct sockaddr *) ret, &size) == 0 &&
               ret->sun_family == AF_UNIX && ret->sun_path[0] == '/';
}

static int write_config(int fd, const struct sockaddr_un *address) {
        const char *path = address->sun_path;

        if (dprintf(fd, "[Broker]\nControlSocket=") < 0)
                return -EIO;
        for (size_t i = 0; i < sizeof(address->sun_path) && path[i]; i++)
                if (dprintf(fd, path[i] == '%' ? "%%%%" : "%c", path[i]) < 0)
                        return -EIO;
        return dprintf(fd, "\n") < 0 ? -EIO : 0;
}

int lost_make_config(const struct inherited *inherited, struct log *log, struct config **ret) {
        _cleanup_close_ int fd = -1;
        struct sockaddr_un address;
        size_t i = 0, n = inherited_count(inherited);
        int r;

        while (i < n && !control_path(inherited_peek_fd(inherited, i), &address))
                i++;
        if (i == n)
                return -ENOENT;
        fd = memfd_create("fdpass-lost", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = write_config(fd, &address);
        return r == 0 ? kept_config_read(fd, log, ret) : r;
}
