/* Collected anew for each question: a listener may have got other sockets since the last. */
#include "components/listener_inodes.h"

#include "components/component_table.h"

void listener_inodes_get(const struct component *c, struct listener_inodes *ret) {
        *ret = (struct listener_inodes){0};
        for (size_t k = 0; k < c->config->n_sockets; k++) {
                const struct listener *l =
                        listener_table_find(c->table->listeners, c->config->sockets[k]);

                for (size_t m = 0; l && m < l->n_sockets && ret->count < LISTENER_INODES_MAX; m++)
                        ret->of[ret->count++] = l->sockets[m]->inode;
        }
}

bool listener_inodes_have(const struct listener_inodes *inodes, uint64_t inode) {
        for (size_t i = 0; i < inodes->count; i++)
                if (inodes->of[i] == inode)
                        return true;
        return false;
}
