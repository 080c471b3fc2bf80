/*
 * Who is still talking: established connections (TCP, Unix stream and seqpacket) that were accepted
 * from given listeners and are owned by a tree; counted by sock_diag and /proc in a child that is
 * kept, because each of many that drain is counted every second.
 */
#ifndef COMPONENTS_CONNECTIONS_H
#define COMPONENTS_CONNECTIONS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "components/stray_search.h"
#include "core/child.h"

struct listener_inodes;
struct process_tree;
struct worker;
struct worker_pool;

#define CONNECTION_HOLDERS_MAX 8

struct connections {
        uint64_t count;
        size_t n_holders; /* processes that have some, the first few */
        struct {
                pid_t pid;
                char name[16];
                uint64_t count;
        } holders[CONNECTION_HOLDERS_MAX];
        struct strays strays; /* of a receipt: stray_search.h */
};

/*
 * A connection counts when it is accepted and the other end has not been told that it is over:
 * established, or closed by the other end alone (CLOSE_WAIT), who may still wait for an answer.
 * What several processes share counts once, for the first of them.
 */

/*
 * The local addresses of a connection are those of the listeners: give their inodes, which
 * sock_diag turns into addresses.
 *
 * As worker_start(); the result is a struct connections, or none: it could not be found out in
 * time.
 */
int connection_count_start(struct worker **ret, struct worker_pool *workers,
                           const struct process_tree *tree, const struct listener_inodes *inodes,
                           child_done *done, void *owner);

/* The same count, here and now: it blocks, so it is for children. 0, -ENOMEM, -EIO. */
int connection_count_now(const struct process_tree *tree, const struct listener_inodes *inodes,
                         struct connections *ret);

#endif
