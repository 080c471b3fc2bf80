/*
 * Counting by two lists: the accepted sockets of the kernel's list (sock_diag), and what processes
 * of the tree have open (/proc). Neither tells by which listener a connection was accepted, but it
 * has its listener's address: a port that nobody else can have bound, or the same file.
 */
#include "components/connections.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/listener_inodes.h"
#include "components/process_tree.h"
#include "components/socket_owner.h"
#include "core/process.h"
#include "core/worker.h"
#include "sockets/inode_set.h"
#include "sockets/process_sockets.h"
#include "sockets/socket_diag.h"

#define DEADLINE_USEC (5 * 1000 * 1000)

_Static_assert(sizeof(struct connections) <= CHILD_RESULT_MAX, "the result of one write");

struct counting {
        const struct process_tree *tree;
        const struct listener_inodes *inodes;
        size_t n_listeners;
        struct diag_socket listeners[LISTENER_INODES_MAX];
        struct inode_set accepted;
        bool *is_counted; /* owned: of each of these */
        struct connections result;
};

static int note_listener(void *owner, const struct diag_socket *s) {
        struct counting *c = owner;

        if (s->state == TCP_LISTEN && c->n_listeners < LISTENER_INODES_MAX &&
            listener_inodes_have(c->inodes, s->inode))
                c->listeners[c->n_listeners++] = *s;
        return 0;
}

static bool is_accepted(const struct counting *c, const struct diag_socket *s) {
        if (s->inode == 0 || (s->state != TCP_ESTABLISHED && s->state != TCP_CLOSE_WAIT))
                return false;
        for (size_t i = 0; i < c->n_listeners; i++)
                if (socket_diag_is_of(s, &c->listeners[i]))
                        return true;
        return false;
}

static int note_accepted(void *owner, const struct diag_socket *s) {
        struct counting *c = owner;

        return is_accepted(c, s) ? inode_set_add(&c->accepted, s->inode) : 0;
}

static int find_accepted(struct counting *c) {
        static const int families[] = {AF_INET, AF_INET6};
        bool is_complete = true;

        for (size_t f = 0; f < 2; f++)
                is_complete &= socket_diag_is_complete(
                        socket_diag_tcp_listening(families[f], note_listener, c));
        for (size_t i = 0, n = c->n_listeners; i < n; i++)
                is_complete &= socket_diag_is_complete(socket_diag_tcp(
                        c->listeners[i].family, c->listeners[i].local_port, note_accepted, c));
        if (c->n_listeners < c->inodes->count) {
                is_complete &= socket_diag_is_complete(socket_diag_unix(note_listener, c));
                is_complete &= socket_diag_is_complete(socket_diag_unix(note_accepted, c));
        }
        return is_complete ? 0 : -EIO;
}

static void note_holder(struct connections *result, pid_t pid) {
        size_t i;

        result->count++;
        for (i = 0; i < result->n_holders; i++)
                if (result->holders[i].pid == pid)
                        break;
        if (i == CONNECTION_HOLDERS_MAX)
                return;
        if (i == result->n_holders) {
                result->n_holders++;
                result->holders[i].pid = pid;
                process_name(pid, result->holders[i].name);
        }
        result->holders[i].count++;
}

static int count_socket(void *owner, const struct process_socket *found) {
        struct counting *c = owner;
        size_t which;

        if (inode_set_find(&c->accepted, found->inode, &which) && !c->is_counted[which]) {
                c->is_counted[which] = true;
                note_holder(&c->result, found->pid);
        }
        return 0;
}

static int count_tree(struct counting *c) {
        _cleanup_free_ pid_t *pids = calloc(TREE_PIDS_MAX, sizeof(*pids));
        size_t n;

        if (c->accepted.count == 0)
                return 0;
        c->is_counted = calloc(c->accepted.count, sizeof(*c->is_counted));
        if (!pids || !c->is_counted)
                return -ENOMEM;
        inode_set_sort(&c->accepted);
        n = process_tree_pids(c->tree, pids, TREE_PIDS_MAX);
        for (size_t i = 0; i < n; i++)
                (void) process_sockets_of(pids[i], count_socket, c);
        return 0;
}

int connection_count_now(const struct process_tree *tree, const struct listener_inodes *inodes,
                         struct connections *ret) {
        _cleanup_free_ struct counting *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->tree = tree;
        c->inodes = inodes;
        r = find_accepted(c);
        if (r == 0)
                r = count_tree(c);
        inode_set_clear(&c->accepted);
        free(c->is_counted);
        *ret = c->result;
        return r;
}

/* ---- as an errand ---- */

struct count_request {
        struct process_tree tree; /* an outline */
        struct listener_inodes inodes;
};

static void count(const void *data, int cgroup_fd, int result_fd) {
        const struct count_request *request = data;
        struct process_tree tree = request->tree;
        struct connections found;

        tree.cgroup_fd = cgroup_fd;
        if (connection_count_now(&tree, &request->inodes, &found) == 0)
                (void) !write(result_fd, &found, sizeof(found));
}

int connection_count_start(struct worker **ret, struct worker_pool *workers,
                           const struct process_tree *tree, const struct listener_inodes *inodes,
                           child_done *done, void *owner) {
        struct count_request request;
        struct errand errand = {count, &request, sizeof(request), tree->cgroup_fd};

        memset(&request, 0, sizeof(request)); /* all of it is sent */
        process_tree_outline(tree, &request.tree);
        request.inodes = *inodes;
        return worker_start(ret, workers, &errand, DEADLINE_USEC, done, owner);
}
