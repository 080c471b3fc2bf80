/*
 * What holders do to listeners, done to real ones: a table with one applied listener, a holder that
 * is the test's own process with a duplicate of the socket, and what clients then see.
 */
#ifndef TESTS_HAZARDS_SUPPORT_H
#define TESTS_HAZARDS_SUPPORT_H

#include "config/config.h"
#include "core/log.h"
#include "core/loop.h"
#include "sockets/listener_table.h"

#define HAZARD_BACKLOG 64

struct hazard {
        struct loop *loop;
        struct log *log;
        struct listener_table *table;
        struct listener_watcher watcher;
        struct address address, *addresses[1];
        struct socket_config socket, *sockets[1];
        struct config config;
        struct listener *listener;
        struct holder *holder;
        unsigned replaced, warnings, errors;
        char lines[8192]; /* all warnings and errors */
};

/* A table with one listener "web" at `where`, adopted from `given` when that is a descriptor. */
void hazard_start_given(struct hazard *f, const char *where, int given);
void hazard_start(struct hazard *f, const char *where);
/* As systemd does it: bound by another, with options of its own. */
void hazard_start_adopted(struct hazard *f, int given);
void hazard_start_tcp(struct hazard *f);
void hazard_start_unix(struct hazard *f);
void hazard_stop(struct hazard *f);

/* The broker's descriptor. */
int hazard_fd(const struct hazard *f);
uint64_t hazard_repairs(const struct hazard *f);

/* This process becomes a holder, with a lease and a descriptor. */
int hazard_hold(struct hazard *f);
/* It gives back the lease and its descriptor. */
void hazard_let_go(struct hazard *f, int fd);

/* The loop handles what has happened. */
void hazard_turns(struct hazard *f);
/* A client connects and closes again: 0 or the errno of connect(2). */
int hazard_reach(const struct hazard *f);

/* Of a socket: the limit of its queue (TCP); an option that is an int. */
unsigned test_limit_of(int fd);
int test_option_of(int fd, int level, int name);
void test_set_option(int fd, int level, int name, int value);

#endif
