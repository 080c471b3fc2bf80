/*
 * Does a component serve? Probes of TCP, HTTP or a command, none of which ever blocks the loop, and
 * under overlap the evidence that it was the new generation that answered: both take from one
 * queue, so an answer alone proves nothing (a new generation that never accepted "passed" 200 of
 * 200 probes, which the old one had answered).
 */
#ifndef COMPONENTS_HEALTH_H
#define COMPONENTS_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "config/component_config.h"
#include "core/child.h"
#include "core/loop.h"

struct cgroup_root;
struct process_tree;
struct log;

enum health_result {
        HEALTH_GOOD,
        HEALTH_REFUSED, /* no connection, a wrong answer, a command that failed */
        HEALTH_TIMEOUT,
        HEALTH_ELSEWHERE, /* accepted, but not by this tree */
        HEALTH_UNTOLD,    /* accepted, and nobody can tell by whom */
};

/* What is to be probed. All lent, until health_stop(). */
struct health_target {
        const struct health_config *config;
        const struct component_config *component; /* for the environment of an exec: command */
        struct sockaddr_storage address;          /* bound to; a wildcard is probed as loopback */
        socklen_t address_size;
        const struct process_tree *tree; /* must own the accepted socket; NULL: whoever answers */
        struct cgroup_root *cgroups;     /* for the tree of an exec: command; NULL: process group */
};

struct health_probe; /* one in flight: health.c's */

#define HEALTH_TEXT_SIZE 160

struct health {
        struct loop *loop;
        struct log *log;
        struct health_target target;
        struct health_probe *probe; /* owned; NULL: none in flight */
        /* text: "HTTP status 503 from /health", "no answer within 2 s"; for people */
        void (*done)(void *owner, enum health_result result, const char *text);
        void *owner;
};

/*
 * What a probe proves:
 *   tcp   that somebody accepted: a connection by itself is the kernel's work. The kernel shows an
 *         accepted socket by its inode
 *   http  the status. With `tree`, the last two bytes of the request are held back until the owner
 *         of the accepted socket is known: a server that had its request could be done and have
 *         closed before anybody looked
 *   exec  that the command says so: nobody can tell who served it, so `tree` does not count
 * A listener with DeferAcceptSec= hands on no connection on which nothing was said, which a tcp
 * probe does not: use http or exec there.
 *
 * One probe; done() is called once, from the loop, within the timeout of the configuration and the
 * time that a disposable child takes to look for the owner (bounded likewise). 0, -EBUSY, -ENOMEM,
 * -EMFILE, -EAGAIN.
 */
int health_start(struct health *health, struct loop *loop, struct log *log,
                 const struct health_target *target,
                 void (*done)(void *owner, enum health_result result, const char *text),
                 void *owner);
void health_stop(struct health *health); /* done() is not called any more */
/* It is connected, and nobody has accepted it yet: what is closed now stays in the queue. */
bool health_is_waiting(const struct health *health);

/* ---- evidence without a probe --------------------------------------------------------------- */

/* By these numbers it is kept for the next broker. */
enum evidence {
        EVIDENCE_NONE,
        EVIDENCE_HOLDS,   /* a process of the tree has the socket open; proves nothing yet */
        EVIDENCE_WATCHES, /* a thread of the tree waits for it in poll or select, or for an epoll
                             set or an io_uring that has it (fdinfo) */
        EVIDENCE_ACCEPTS, /* a thread of the tree waits in accept() on it
                             (/proc/PID/task/TID/syscall) */
        EVIDENCE_SERVED,  /* a probe was accepted by the tree */
        EVIDENCE_SERVES,  /* a connection of somebody else's was */
};

const char *evidence_text(enum evidence evidence); /* for the receipt */

/*
 * The best evidence for any of these sockets (inodes), looked for by a kept child: reading /proc
 * takes long on a busy machine and can hang. `accepted`: EVIDENCE_SERVES counts; not for a tree
 * that was given connections which others had accepted. As worker_start(); the result is for
 * evidence_read().
 */
struct listener_inodes;
struct worker;
struct worker_pool;
int evidence_search_start(struct worker **ret, struct worker_pool *workers,
                          const struct process_tree *tree, const struct listener_inodes *inodes,
                          bool accepted, child_done *done, void *owner);
/* *ask: it accepts by io_uring, and only a connection can tell whether on one of these sockets. */
enum evidence evidence_read(const char *result, size_t size, bool *ask);

#endif
