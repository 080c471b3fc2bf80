/* See socket_owner.h. */
#include "components/socket_owner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/process_tree.h"
#include "sockets/process_sockets.h"

#define DEADLINE_USEC (2 * 1000 * 1000)

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
        const struct socket_owner_search *search = argument;
        struct socket_owner found = {0};
        _cleanup_free_ pid_t *pids = calloc(TREE_PIDS_MAX, sizeof(*pids));
        size_t n = pids ? process_tree_pids(search->tree, pids, TREE_PIDS_MAX) : 0;

        if (!pids)
                return;
        for (size_t i = 0; i < n && found.pid == 0; i++) {
                struct looking l = {.inode = search->inode};
                int r = process_sockets_of(pids[i], is_wanted, &l);

                if (r > 0)
                        found.pid = pids[i];
                else if (r == -EACCES || l.has_unnamed)
                        found.hidden++;
        }
        (void) !write(result_fd, &found, sizeof(found));
}

static void on_looked(void *owner, const char *result, size_t size) {
        struct socket_owner_search *search = owner;
        struct socket_owner found;

        if (size == sizeof(found))
                memcpy(&found, result, sizeof(found));
        search->done(search->owner, size == sizeof(found) ? &found : NULL);
}

int socket_owner_search(struct socket_owner_search *search, struct loop *loop,
                        const struct process_tree *tree, uint32_t inode,
                        void (*done)(void *owner, const struct socket_owner *found), void *owner) {
        search->tree = tree;
        search->inode = inode;
        search->done = done;
        search->owner = owner;
        return helper_start(&search->helper, loop, DEADLINE_USEC, look, search, on_looked, search);
}

void socket_owner_cancel(struct socket_owner_search *search) {
        helper_cancel(&search->helper);
}
