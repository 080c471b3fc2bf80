/*
 * Taking listeners back from living processes. See hand_back.h.
 *
 * The mark is the sticky bit of the socket's own inode, set by fchmod(2): a place on the socket
 * that only its maker's user and root can write, that every holder shares, that nothing else
 * reads, and that can be seen in /proc/PID/fd before anything is taken.
 *
 * A process is judged after its pidfd is open and must still live when all of it was read: what was
 * read is of that process then, and not of one that got its pid later.
 */
#include "sockets/hand_back.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/log.h"
#include "sockets/lease.h"
#include "sockets/listener_table_private.h"
#include "sockets/path_owners.h"
#include "sockets/process_sockets.h"
#include "sockets/socket_diag.h"

#define MARK (S_ISVTX | 0777)
/* What stands for anybody, as in config/access.c. */
#define OVERFLOW_ID 65534
#define HELD_MAX (1U << 20)
#define INODES_MAX 8

void hand_back_mark(int fd) {
        (void) fchmod(fd, MARK);
}

/*
 * By a broker of our own user only: that one's processes we can see, and so whether it still lives.
 * A user cannot see who holds a socket of root's broker.
 */
bool hand_back_is_marked(const struct stat *st) {
        return S_ISSOCK(st->st_mode) && (st->st_mode & 07777) == MARK &&
               st->st_uid != OVERFLOW_ID && st->st_uid == geteuid();
}

/* ---- who holds what ---- */

/* One descriptor of a marked socket in another process. */
struct held {
        uint32_t inode;
        pid_t pid;
        int fd; /* its number there */
};

struct hand_back {
        bool read;
        size_t count, room;
        struct held *all; /* by inode, then pid */
};

int hand_back_new(struct hand_back **ret) {
        struct hand_back *all = calloc(1, sizeof(*all));

        if (!all)
                return -ENOMEM;
        *ret = all;
        return 0;
}

struct hand_back *hand_back_free(struct hand_back *all) {
        if (all)
                free(all->all);
        free(all);
        return NULL;
}

static int add(void *owner, const struct process_socket *found) {
        struct hand_back *all = owner;
        struct stat st;

        if (found->pid == getpid() || all->count >= HELD_MAX ||
            fstatat(found->folder, found->entry, &st, 0) < 0 || !hand_back_is_marked(&st))
                return 0;
        if (all->count == all->room) {
                size_t room = all->room > 0 ? 2 * all->room : 64;
                struct held *more = reallocarray(all->all, room, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                all->all = more;
                all->room = room;
        }
        all->all[all->count++] = (struct held){found->inode, found->pid, atoi(found->entry)};
        return 0;
}

static int compare(const void *a, const void *b) {
        const struct held *x = a, *y = b;

        if (x->inode != y->inode)
                return x->inode < y->inode ? -1 : 1;
        return (x->pid > y->pid) - (x->pid < y->pid);
}

static int look(struct hand_back *all) {
        int r;

        if (all->read)
                return 0;
        all->count = 0;
        r = process_sockets_walk(add, all);
        if (r < 0)
                return r;
        if (all->count > 1)
                qsort(all->all, all->count, sizeof(all->all[0]), compare);
        all->read = true;
        return 0;
}

/* The first one of a socket; the others follow it. NULL: nobody holds it. */
static const struct held *find_first(const struct hand_back *all, uint32_t inode) {
        size_t low = 0, high = all->count;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (all->all[middle].inode < inode)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < all->count && all->all[low].inode == inode ? &all->all[low] : NULL;
}

static const struct held *find_next(const struct hand_back *all, const struct held *held) {
        const struct held *next = held + 1;

        return next < all->all + all->count && next->inode == held->inode ? next : NULL;
}

static bool holds(const struct hand_back *all, uint32_t inode, pid_t pid) {
        for (const struct held *h = find_first(all, inode); h; h = find_next(all, h))
                if (h->pid == pid)
                        return true;
        return false;
}

/* ---- the socket of an address ---- */

struct search {
        struct in6_addr host;
        size_t count;
        uint32_t inodes[INODES_MAX];
};

static int on_tcp_socket(void *owner, const struct diag_socket *s) {
        struct search *search = owner;

        if (s->state == TCP_LISTEN && IN6_ARE_ADDR_EQUAL(&s->local, &search->host) &&
            search->count < INODES_MAX)
                search->inodes[search->count++] = s->inode;
        return 0;
}

static int search_tcp(const struct address *address, struct search *search) {
        search->host = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
        if (address->any.sa_family == AF_INET6)
                search->host = address->in6.sin6_addr;
        else
                memcpy(search->host.s6_addr + 12, &address->in.sin_addr, 4);
        return socket_diag_tcp(address->any.sa_family, address_port(address), on_tcp_socket,
                               search);
}

static int search_unix(const struct address *address, struct path_owners *owners,
                       struct search *search) {
        struct path_owner found[INODES_MAX];
        struct stat st;
        int n;

        if (lstat(address->un.sun_path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        n = path_owners_find(owners, address->un.sun_path, &st, found, INODES_MAX);
        for (int i = 0; i < n && i < INODES_MAX; i++)
                if (found[i].listening)
                        search->inodes[search->count++] = found[i].inode;
        return n < 0 ? n : 0;
}

bool hand_back_knows(int fd, const struct address *address) {
        struct path_owners *owners = NULL;
        struct search search = {.count = 0};
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0 || !hand_back_is_marked(&st) || path_owners_new(&owners) < 0)
                return false;
        r = address_is_unix(address) ? search_unix(address, owners, &search)
                                     : search_tcp(address, &search);
        path_owners_free(owners);
        for (size_t i = 0; r >= 0 && i < search.count; i++)
                if (search.inodes[i] == st.st_ino)
                        return true;
        return false;
}

/* ---- the process ---- */

struct judged {
        pid_t pid, parent;
        uid_t uid;
        gid_t gid;
        gid_t *groups;
        size_t n_groups;
        int pidfd;
};

static void judged_clear(struct judged *p) {
        close_fd(p->pidfd);
        free(p->groups);
}
#define _cleanup_judged_ _cleanup_(judged_clear)

/* "Groups:\t4 24 27 \n" */
static int read_groups(struct judged *p, const char *text) {
        size_t room = 0;

        for (;;) {
                char *end;
                unsigned long gid = strtoul(text, &end, 10);

                if (end == text)
                        return 0;
                text = end;
                if (p->n_groups == room) {
                        gid_t *more = reallocarray(p->groups, room + 64, sizeof(*more));

                        if (!more)
                                return -ENOMEM;
                        p->groups = more;
                        room += 64;
                }
                p->groups[p->n_groups++] = (gid_t) gid;
        }
}

static int read_status(struct judged *p, FILE *status) {
        _cleanup_free_ char *line = NULL;
        unsigned found = 0;
        size_t room = 0;
        int r = 0;

        while (r == 0 && getline(&line, &room, status) > 0) {
                if (sscanf(line, "PPid: %d", &p->parent) == 1 ||
                    sscanf(line, "Uid: %*u %u", &p->uid) == 1 ||
                    sscanf(line, "Gid: %*u %u", &p->gid) == 1)
                        found++;
                else if (strncmp(line, "Groups:", 7) == 0)
                        r = read_groups(p, line + 7);
        }
        return r == 0 && found != 3 ? -ESRCH : r;
}

/* 0 with its pidfd and the kernel's word on its users and groups; -ESRCH: it has ended. */
static int judge(pid_t pid, struct judged *ret) {
        char path[64];
        FILE *status;
        int r;

        *ret = (struct judged){.pid = pid, .pidfd = -1};
        r = process_open(pid);
        if (r < 0)
                return r;
        ret->pidfd = r;
        (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
        status = fopen(path, "re");
        if (!status)
                return errno == ENOENT ? -ESRCH : -errno;
        r = read_status(ret, status);
        (void) fclose(status);
        if (r == 0 && process_has_ended(ret->pidfd) != 0)
                r = -ESRCH;
        return r;
}

/* As control/permission.c decides of a peer. */
static bool may_hold(const struct judged *p, const struct socket_config *config) {
        if (p->uid == 0 || (p->uid == geteuid() && p->uid != OVERFLOW_ID))
                return true;
        return access_list_has(&config->access, p->uid, &p->gid, 1) ||
               access_list_has(&config->access, p->uid, p->groups, p->n_groups);
}

/* A link of /proc: does what it leads to, without folders and " (deleted)", have this name? */
static bool leads_to(int folder, const char *entry, const char *name) {
        char target[4096];
        const char *base;
        size_t length = strlen(name);
        ssize_t n = readlinkat(folder, entry, target, sizeof(target) - 1);

        if (n <= 0)
                return false;
        target[n] = '\0';
        base = strrchr(target, '/');
        return base && strncmp(base + 1, name, length) == 0 &&
               (base[1 + length] == '\0' || base[1 + length] == ' ');
}

/* The state document is with the broker and its keeper and with nobody else. */
static bool has_state(int folder) {
        _cleanup_close_ int fd = openat(folder, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *entry;
        bool found = false;

        if (!d)
                return false;
        (void) take_fd(&fd); /* closedir() closes it */
        while (!found && (entry = readdir(d)))
                found = leads_to(dirfd(d), entry->d_name, "memfd:fdpass-state");
        (void) closedir(d);
        return found;
}

/*
 * A broker or keeper that lives has its listeners and shares them with no other. It is of root or
 * of our own user (the mark says so), and told by its program, whatever that is called after an
 * upgrade, or by its state document; another user's program of that name is nobody's broker.
 */
static bool is_broker(pid_t pid) {
        _cleanup_close_ int folder = -1;
        char path[64];
        struct stat st;

        (void) snprintf(path, sizeof(path), "/proc/%d", (int) pid);
        folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0 || fstat(folder, &st) < 0 || (st.st_uid != 0 && st.st_uid != geteuid()))
                return false;
        return leads_to(folder, "exe", "fdpassd") || has_state(folder);
}

static pid_t find_broker(const struct hand_back *all, uint32_t inode) {
        for (const struct held *h = find_first(all, inode); h; h = find_next(all, h))
                if (is_broker(h->pid))
                        return h->pid;
        return 0;
}

int hand_back_find_broker(int fd, pid_t *ret_pid) {
        struct hand_back all = {.read = false};
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        r = look(&all);
        if (r == 0)
                *ret_pid = find_broker(&all, (uint32_t) st.st_ino);
        free(all.all);
        return r < 0 ? r : *ret_pid > 0;
}

/* ---- taking ---- */

/* Between look and grip the process may have put something else at that number. */
static bool is_the_socket(int fd, uint32_t inode, const struct address *wanted) {
        socklen_t size = sizeof(int);
        struct address address;
        int listening = 0;
        struct stat st;

        return fstat(fd, &st) == 0 && hand_back_is_marked(&st) && st.st_ino == inode &&
               address_of_socket(fd, &address) == 0 && address_equal(&address, wanted) &&
               getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

static int take_from(const struct held *held, const struct socket_config *config,
                     const struct address *address, int *ret_fd, struct hand_back_report *report) {
        _cleanup_judged_ struct judged process;
        _cleanup_close_ int fd = -1;
        int r = judge(held->pid, &process);

        if (r < 0)
                return r;
        report->pid = held->pid;
        process_name(held->pid, report->name);
        if (!may_hold(&process, config)) {
                (void) snprintf(report->reason, sizeof(report->reason),
                                "%s (pid %d, uid %u) holds it from a broker that has ended, and "
                                "may not hold this listener: name its user in Access= and the "
                                "listener is taken back, or stop it",
                                report->name, (int) held->pid, (unsigned) process.uid);
                return -EACCES;
        }
        fd = pidfd_getfd(process.pidfd, held->fd, 0); /* close-on-exec by definition */
        if (fd < 0) {
                r = -errno;
                (void) snprintf(report->reason, sizeof(report->reason),
                                "%s (pid %d, uid %u) holds it from a broker that has ended, and it "
                                "cannot be taken back from there (pidfd_getfd: %s); that needs the "
                                "same user or CAP_SYS_PTRACE, and kernel.yama.ptrace_scope=0 for "
                                "who is not root. Permit it, or stop the program",
                                report->name, (int) held->pid, (unsigned) process.uid,
                                strerror(-r));
                return r;
        }
        if (!is_the_socket(fd, held->inode, address))
                return -ESRCH;
        *ret_fd = take_fd(&fd);
        return 0;
}

static int take_inode(struct hand_back *all, uint32_t inode, const struct socket_config *config,
                      const struct address *address, int *ret_fd, struct hand_back_report *report) {
        pid_t broker = find_broker(all, inode);
        int result = -ENOENT;

        if (broker > 0) {
                (void) snprintf(report->reason, sizeof(report->reason),
                                "another broker, fdpassd (pid %d), holds it; stop that one, or "
                                "choose another address",
                                (int) broker);
                return -EBUSY;
        }
        for (const struct held *h = find_first(all, inode); h; h = find_next(all, h)) {
                int r = take_from(h, config, address, ret_fd, report);

                if (r == 0)
                        return 0;
                /* The last process that still lives is the one to tell of. */
                if (r != -ESRCH)
                        result = r;
        }
        return result;
}

int hand_back_take(struct hand_back *all, const struct socket_config *config,
                   const struct address *address, struct path_owners *owners, int *ret_fd,
                   struct hand_back_report *report) {
        struct search search = {.count = 0};
        int result = -ENOENT, r;

        *report = (struct hand_back_report){.pid = 0};
        r = look(all);
        if (r == 0)
                r = address_is_unix(address) ? search_unix(address, owners, &search)
                                             : search_tcp(address, &search);
        if (r < 0)
                return r;
        for (size_t i = 0; i < search.count; i++) {
                r = take_inode(all, search.inodes[i], config, address, ret_fd, report);
                if (r == 0)
                        return 0;
                if (r != -ENOENT)
                        result = r;
        }
        return result;
}

/* ---- leases ---- */

static int begin_lease(struct judged *p, struct listener *listener) {
        struct holder_table *holders = listener_table_holders(listener->table);
        struct holder *holder;
        struct lease *lease;
        int r = holder_get(holders, take_fd(&p->pidfd), p->pid, p->uid, p->gid, &holder);

        if (r < 0)
                return r;
        /* No limit: it was lent this before, whatever the limit is now. */
        r = lease_begin(holder, listener, LEASE_HAND_BACK, 0, &lease);
        holder_put(holder);
        return r;
}

void hand_back_begin_leases(struct hand_back *all, struct listener_socket *socket) {
        struct listener *listener = socket->listener;
        uint32_t inode = (uint32_t) socket->inode;
        char name[PROCESS_NAME_SIZE];

        for (const struct held *h = find_first(all, inode); h; h = find_next(all, h)) {
                _cleanup_judged_ struct judged process;
                int r = judge(h->pid, &process);

                if (r == 0 && holds(all, inode, process.parent))
                        continue;
                if (r == 0)
                        r = may_hold(&process, listener->config) ? begin_lease(&process, listener)
                                                                 : -EACCES;
                if (r == 0 || r == -ESRCH)
                        continue;
                process_name(h->pid, name);
                log_warning(listener->table->log, ABOUT(.listener = listener->name, .pid = h->pid),
                            "listener %s: %s (pid %d) holds it as well, without a lease: %s",
                            listener->name, name, (int) h->pid,
                            r == -EACCES ? "it may not hold it" : strerror(-r));
        }
}
