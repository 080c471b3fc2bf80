/* Facts about other processes. See process.h for what is safe in the loop and why. */
#include "core/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

int process_open(pid_t pid) {
        int fd = pidfd_open(pid, 0); /* close-on-exec by definition, pidfd_open(2) */

        return fd < 0 ? -errno : fd;
}

pid_t process_fork(int *ret_pidfd) {
        pid_t pid = fork();
        int pidfd;

        if (pid <= 0)
                return pid;
        pidfd = process_open(pid);
        if (pidfd < 0) {
                (void) kill(pid, SIGKILL); /* not yet collected: the pid is surely ours */
                (void) waitpid(pid, NULL, 0);
                errno = -pidfd;
                return -1;
        }
        *ret_pidfd = pidfd;
        return pid;
}

int process_has_ended(int pidfd) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        if (poll(&p, 1, 0) < 0)
                return -errno;
        return p.revents != 0;
}

void process_name(pid_t pid, char ret[PROCESS_NAME_SIZE]) {
        char path[64], name[PROCESS_NAME_SIZE + 1];
        _cleanup_close_ int fd = -1;
        ssize_t n = 0;

        (void) snprintf(path, sizeof(path), "/proc/%d/comm", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                n = read(fd, name, sizeof(name));
        if (n > 0 && name[n - 1] == '\n')
                n--;
        if (n <= 0) {
                (void) strcpy(ret, "?");
                return;
        }
        if (n >= PROCESS_NAME_SIZE)
                n = PROCESS_NAME_SIZE - 1;
        /* A program chooses its own name: it must not write control characters into our log. */
        for (ssize_t i = 0; i < n; i++)
                ret[i] = name[i] >= ' ' && name[i] != 0x7f ? name[i] : '?';
        ret[n] = '\0';
}

bool process_would_die_of(pid_t pid, int number) {
        static const char *const masks[] = {"\nSigBlk:", "\nSigIgn:", "\nSigCgt:"};
        char path[64], text[4096];
        _cleanup_close_ int fd = -1;
        ssize_t n = 0;

        (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                n = read(fd, text, sizeof(text) - 1);
        if (n <= 0)
                return false;
        text[n] = '\0';
        for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
                const char *mask = strstr(text, masks[i]);

                if (!mask || strtoull(mask + strlen(masks[i]), NULL, 16) >> (number - 1) & 1)
                        return false;
        }
        return true;
}
