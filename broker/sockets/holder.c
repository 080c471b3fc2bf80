/*
 * Holders: the processes that were lent something, or that have a session. Known by pidfd and found
 * by pid; since pids are used again, one that is found is asked whether it still lives. A process
 * of a pid namespace that we do not see has no pid here: it is found by the inode of its pidfd,
 * which is unique where pidfds have a filesystem of their own (Linux 6.9); before that each of its
 * sessions is a holder of its own.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "cleanup.h"
#include "core/log.h"
#include "core/process.h"
#include "sockets/holder_private.h"
#include "sockets/kept.h"
#include "sockets/listener.h"

#ifndef PIDFS_MAGIC
#define PIDFS_MAGIC 0x50494446
#endif

/* Keys that are no pids. */
#define KEY_INODE (UINT64_C(1) << 63)
#define KEY_ANONYMOUS (UINT64_C(1) << 62)

int holder_table_new(struct holder_table **ret, struct loop *loop, struct log *log) {
        struct holder_table *table = calloc(1, sizeof(*table));

        if (!table)
                return -ENOMEM;
        table->loop = loop;
        table->log = log;
        *ret = table;
        return 0;
}

static void unlist(struct holder *holder) {
        if (!holder->hh.tbl)
                return;
        HASH_DEL(holder->table->by_key, holder);
        holder->hh.tbl = NULL;
}

static void holder_free(struct holder *holder) {
        unlist(holder);
        io_watch_stop(&holder->exit_watch);
        kept_holder_remove(holder);
        close_fd(holder->pidfd);
        free(holder);
}

void holder_free_if_unused(struct holder *holder) {
        if (holder->references == 0 && holder->n_leases == 0)
                holder_free(holder);
}

/* Its process has ended: nobody finds it any more, and its leases end. */
static void holder_end(struct holder *holder) {
        holder->references++; /* else it would be gone with its last lease */
        unlist(holder);
        io_watch_stop(&holder->exit_watch);
        if (holder->n_leases > 0)
                log_debug(holder->table->log, ABOUT(.pid = holder->pid),
                          "process %d has ended, and with it its leases (%zu)", (int) holder->pid,
                          holder->n_leases);
        while (!LIST_EMPTY(&holder->leases))
                lease_end(LIST_FIRST(&holder->leases));
        holder_put(holder);
}

static void on_exit_of_process(void *owner, int events) {
        holder_end(owner);
}

void holder_watch(struct holder *holder) {
        /* A pidfd becomes readable when its process ends, pidfd_open(2). */
        if (!io_watch_is_started(&holder->exit_watch))
                io_watch_start(&holder->exit_watch, holder->table->loop, holder->pidfd, IO_READ,
                               on_exit_of_process, holder);
}

struct holder_table *holder_table_free(struct holder_table *table) {
        struct holder *holder, *tmp;

        if (!table)
                return NULL;
        HASH_ITER (hh, table->by_key, holder, tmp) {
                holder->references++;
                holder_end(holder);
                holder->table = NULL; /* a session may give it back later */
                holder_put(holder);
        }
        holder_table_clear_users(table);
        free(table);
        return NULL;
}

/* No system call for a process with a pid: that is the way of nearly all. */
static int make_key(struct holder_table *table, int pidfd, pid_t pid, uint64_t *ret_key,
                    uint64_t *ret_inode) {
        struct statfs fs;
        struct stat st;

        *ret_inode = 0;
        if (pid > 0) {
                *ret_key = (uint64_t) pid;
                return 0;
        }
        if (fstat(pidfd, &st) < 0 || fstatfs(pidfd, &fs) < 0)
                return -errno;
        if (fs.f_type == PIDFS_MAGIC) {
                *ret_inode = st.st_ino;
                *ret_key = KEY_INODE | (uint64_t) st.st_ino;
        } else {
                *ret_key = KEY_ANONYMOUS | table->anonymous++;
        }
        return 0;
}

static struct holder *find_living(struct holder_table *table, uint64_t key) {
        struct holder *holder;

        HASH_FIND(hh, table->by_key, &key, sizeof(key), holder);
        if (!holder || process_has_ended(holder->pidfd) != 1)
                return holder;
        /* The pid is used again before the loop told us that the process had ended. */
        holder_end(holder);
        return NULL;
}

int holder_get(struct holder_table *table, int pidfd, pid_t pid, uid_t uid, gid_t gid,
               struct holder **ret) {
        _cleanup_close_ int owned = pidfd;
        struct holder *holder;
        uint64_t key, inode;
        int r;

        r = make_key(table, owned, pid, &key, &inode);
        if (r < 0)
                return r;
        holder = find_living(table, key);
        if (!holder) {
                holder = calloc(1, sizeof(*holder));
                if (!holder)
                        return -ENOMEM;
                holder->table = table;
                holder->key = key;
                holder->pid = pid;
                holder->pidfd_inode = inode;
                LIST_INIT(&holder->leases);
                HASH_ADD(hh, table->by_key, key, sizeof(holder->key), holder);
                if (!holder->hh.tbl) {
                        free(holder);
                        return -ENOMEM;
                }
                holder->pidfd = take_fd(&owned);
        }
        /* A process may change its user; what its leases are counted for stays while it has any. */
        if (holder->n_leases == 0) {
                holder->uid = uid;
                holder->gid = gid;
        }
        holder->references++;
        *ret = holder;
        return 0;
}

void holder_set_status(struct holder *holder, bool ready, const char *status, size_t length) {
        holder->ready |= ready;
        if (status && length < sizeof(holder->status)) {
                memcpy(holder->status, status, length);
                holder->status[length] = '\0';
        }
        if (holder->n_leases > 0)
                kept_holder_put(holder);
}

void holder_put(struct holder *holder) {
        holder->references--;
        holder_free_if_unused(holder);
}
