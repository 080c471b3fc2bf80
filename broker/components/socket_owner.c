/* See socket_owner.h. */
#include "components/socket_owner.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/process_tree.h"
#include "core/helper.h"
#include "sockets/process_sockets.h"

#define DEADLINE_USEC (2 * 1000 * 1000)

struct question {
        const struct process_tree *tree;
        uint32_t inode;
};

struct looking {
        uint32_t inode;
        bool has_unnamed; /* the process has one that may be it */
};

static int is_wanted(void *owner, const struct process_socket *found) {
        struct looking *l = owner;

        l->has_unnamed |= found->inode == 0;
        return found->inode == l->inode;
}

static void look(void *argument, int result_fd) {
        const struct question *question = argument;
        struct socket_owner found = {0};
        _cleanup_free_ pid_t *pids = calloc(TREE_PIDS_MAX, sizeof(*pids));
        size_t n = pids ? process_tree_pids(question->tree, pids, TREE_PIDS_MAX) : 0;

        if (!pids)
                return;
        for (size_t i = 0; i < n && found.pid == 0; i++) {
                struct looking l = {.inode = question->inode};
                int r = process_sockets_of(pids[i], is_wanted, &l);

                if (r > 0)
                        found.pid = pids[i];
                else if (r == -EACCES || l.has_unnamed)
                        found.hidden++;
        }
        (void) !write(result_fd, &found, sizeof(found));
}

int socket_owner_search(struct helper **ret, struct loop *loop, const struct process_tree *tree,
                        uint32_t inode, child_done *done, void *owner) {
        struct question question = {tree, inode};

        return helper_start(ret, loop, DEADLINE_USEC, look, &question, done, owner);
}
