/*
 * The way from a socket to its processes: the kernel has none, so every link in every /proc/PID/fd
 * is read ("socket:[71234]"). Processes of other users can be looked into by root only; they are
 * counted, so that "nobody" is never said when it is not known.
 */
#include "sockets/process_sockets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "sockets/ring_info.h"

static void closedir_p(DIR **folder) {
        if (*folder)
                (void) closedir(*folder);
}
#define _cleanup_closedir_ _cleanup_(closedir_p)

/* The whole of a small file of /proc/PID, terminated; "" when it cannot be read. */
static void read_small(pid_t pid, const char *file, char *ret, size_t size) {
        char path[64];
        _cleanup_close_ int fd = -1;
        ssize_t n = -1;

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, file);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                n = read(fd, ret, size - 1);
        ret[n > 0 ? n : 0] = '\0';
}

static void describe(pid_t pid, struct socket_process *ret) {
        char status[2048];
        const char *line;
        unsigned uid;

        *ret = (struct socket_process){.pid = pid};
        process_name(pid, ret->name);
        /* Not the owner of /proc/PID: for a process that changed its user that is root. */
        read_small(pid, "status", status, sizeof(status));
        line = strstr(status, "\nUid:");
        if (line && sscanf(line, "\nUid: %*u %u", &uid) == 1) {
                ret->has_uid = true;
                ret->uid = uid;
        }
}

/* Who handles what is found, and what of it is the same for all. */
struct pass {
        process_socket_handler *handler;
        void *owner;
        bool into_rings;
        struct process_socket found;
};

static int on_socket(void *owner, uint32_t inode) {
        struct pass *pass = owner;

        pass->found.inode = inode;
        return pass->handler(pass->owner, &pass->found);
}

/* "socket:[71234]", or an io_uring. */
static int look_at_link(struct pass *pass) {
        static const char prefix[] = "socket:[";
        const struct process_socket *at = &pass->found;
        char target[64];
        ssize_t n = readlinkat(at->folder, at->entry, target, sizeof(target) - 1);
        bool accepts;

        target[n > 0 ? n : 0] = '\0';
        if (strncmp(target, prefix, strlen(prefix)) == 0)
                return on_socket(pass, (uint32_t) strtoull(target + strlen(prefix), NULL, 10));
        if (pass->into_rings && strcmp(target, RING_LINK) == 0)
                return ring_info_read(at->pid, at->entry, on_socket, pass, &accepts);
        return 0;
}

static int look_at_process(pid_t pid, bool into_rings, process_socket_handler *handler,
                           void *owner) {
        struct pass pass = {.handler = handler, .owner = owner, .into_rings = into_rings};
        _cleanup_closedir_ DIR *folder = NULL;
        char path[64];
        struct dirent *entry;
        int r = 0;

        (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
        folder = opendir(path);
        if (!folder)
                return errno == EACCES || errno == EPERM ? -EACCES : 0;
        while (r == 0 && (entry = readdir(folder))) {
                if (entry->d_name[0] == '.')
                        continue;
                pass.found = (struct process_socket){
                        .pid = pid, .folder = dirfd(folder), .entry = entry->d_name};
                r = look_at_link(&pass);
        }
        return r;
}

int process_sockets_of(pid_t pid, process_socket_handler *handler, void *owner) {
        return look_at_process(pid, true, handler, owner);
}

/* The next process of /proc, or 0. */
static pid_t next_process(DIR *proc) {
        struct dirent *entry;

        while ((entry = readdir(proc))) {
                char *end;
                long pid = strtol(entry->d_name, &end, 10);

                if (pid > 0 && *end == '\0')
                        return (pid_t) pid;
        }
        return 0;
}

int process_sockets_walk(process_socket_handler *handler, void *owner) {
        _cleanup_closedir_ DIR *proc = opendir("/proc");
        int r = 0;
        pid_t pid;

        if (!proc)
                return -errno;
        while (r == 0 && (pid = next_process(proc)) > 0) {
                r = look_at_process(pid, false, handler, owner);
                if (r == -EACCES)
                        r = 0;
        }
        return r;
}

/* ---- the processes of some sockets ---- */

struct wanted {
        const uint32_t *inodes;
        size_t n_inodes;
};

/* 1: it is one of them, and no more need be looked at. */
static int is_wanted(void *owner, const struct process_socket *found) {
        const struct wanted *wanted = owner;

        for (size_t i = 0; i < wanted->n_inodes; i++)
                if (found->inode == wanted->inodes[i])
                        return 1;
        return 0;
}

static void note(struct socket_processes *all, pid_t pid) {
        if (all->count < SOCKET_PROCESSES_MAX)
                describe(pid, &all->first[all->count]);
        all->count++;
}

int process_sockets_find(const uint32_t *inodes, size_t n_inodes, struct socket_processes *ret) {
        _cleanup_closedir_ DIR *proc = opendir("/proc");
        struct wanted wanted = {inodes, n_inodes};
        pid_t pid;

        if (!proc)
                return -errno;
        memset(ret, 0, sizeof(*ret));
        while ((pid = next_process(proc)) > 0) {
                int r = look_at_process(pid, false, is_wanted, &wanted);

                if (r > 0)
                        note(ret, pid);
                else if (r < 0)
                        ret->hidden++;
        }
        return 0;
}
