/*
 * Strays: processes that have a listener open and belong to no generation that we know, because
 * they left their cgroup or process group. They may take connections and never serve them.
 */
#ifndef COMPONENTS_STRAY_SEARCH_H
#define COMPONENTS_STRAY_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/child.h"
#include "core/loop.h"

#define STRAYS_MAX 8

struct strays {
        size_t count; /* the first few */
        struct {
                pid_t pid;
                char name[16];
        } of[STRAYS_MAX];
};

struct helper;
struct listener_inodes;

/*
 * Who has one of these inodes open, by /proc, in a disposable child. is_known() says who may; it is
 * asked in that child, of a process that was found there, so it may read /proc and must change
 * nothing. We ourselves and those of our children that run our program or are in our process group
 * (a keeper, disposable ones, and those on their way to exec) are no strays.
 *
 * As helper_start(); the result is a struct strays, or none: it could not be found out in time.
 */
int stray_search_start(struct helper **ret, struct loop *loop, const struct listener_inodes *inodes,
                       bool (*is_known)(const void *owner, pid_t pid), child_done *done,
                       void *owner);

#endif
