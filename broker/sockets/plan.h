/*
 * What one apply is going to do, before it does anything: for each configured address where its
 * socket comes from, for each configured listener whose object (and so whose leases) it takes
 * over, and what is left to be closed.
 */
#ifndef SOCKETS_PLAN_H
#define SOCKETS_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "core/process.h"
#include "sockets/address_index.h"
#include "sockets/bind.h"
#include "sockets/listener_table_private.h"

struct hand_back;
struct inherited;

enum origin {
        ORIGIN_NONE, /* to be bound */
        ORIGIN_KEPT,
        ORIGIN_GIVEN, /* inherited */
        ORIGIN_BOUND,
        ORIGIN_TAKEN /* back from a living holder */
};

struct planned_socket {
        const struct address *address; /* as configured */
        struct planned_listener *listener;
        struct listener_socket *socket; /* the kept one, or the one made by this apply */
        enum origin origin;
        int given_fd;          /* ORIGIN_GIVEN: not ours before the commit */
        bool given_elsewhere;  /* it was found by its name and is bound to another address */
        const char *given_id;  /* likewise, lent: of its record, when it is one that we had kept */
        bool is_kept;          /* and that record stays as it is */
        bool to_store;         /* its record is new, and its descriptor is to follow */
        unsigned folders_made; /* ORIGIN_BOUND */
        pid_t taken_pid;       /* ORIGIN_TAKEN: from whom */
        char taken_from[PROCESS_NAME_SIZE];
        /* ORIGIN_KEPT: what differs from the configuration that the socket had so far */
        bool set_backlog, set_non_blocking, set_rights;
        bool rights_set;
        struct path_rights rights_before;
};

struct planned_listener {
        const struct socket_config *config;
        struct listener *old; /* whose object it becomes; NULL: a new one */
        bool changed;
        size_t n_sockets;
        struct planned_socket *sockets;
        /* Made before the commit: */
        struct socket_config *copy;
        struct listener *fresh; /* when there is no old one; owns the copy then */
        struct listener_socket **places;
        int *fds;
};

struct old_socket {
        struct listener_socket *socket;
        struct planned_socket *claim; /* NULL: to be closed */
};

struct old_listener {
        struct listener *listener;
        struct planned_listener *heir;   /* who becomes this object; NULL: it goes */
        struct planned_listener *target; /* the first to claim one of its sockets */
        struct old_socket *sockets;
};

struct plan {
        struct listener_table *table;
        const struct config *config;
        struct inherited *inherited; /* may be NULL */
        bool allow_close;
        struct diagnostics *diagnostics;
        size_t errors;
        size_t n_listeners, n_sockets; /* planned */
        struct planned_listener *listeners;
        struct planned_socket *sockets;
        size_t n_old, n_old_sockets;
        struct old_listener *old; /* by position in the table */
        struct old_socket *old_sockets;
        size_t n_given;
        struct planned_socket **given; /* by index in `inherited`; NULL: not claimed */
        struct listener_index *index;  /* what the commit puts in place */
        struct hand_back *hand_back;   /* NULL: nothing is taken back */
};

/* Compare; touches nothing. 0 (look at plan->errors then) or -ENOMEM; plan_clear() in any case. */
int plan_make(struct plan *plan);
void plan_clear(struct plan *plan);

/* Part of plan_make(): which of the inherited descriptors serve. 0 or -ENOMEM. */
int plan_adopt(struct plan *plan);

/* An error or a warning about a listener, at its place in the configuration. */
#define plan_error(plan, listener, ...)                                                            \
        do {                                                                                       \
                (plan)->errors++;                                                                  \
                diagnostics_add((plan)->diagnostics, SEVERITY_ERROR, (listener)->config->file,     \
                                (listener)->config->line, __VA_ARGS__);                            \
        } while (0)
#define plan_warning(plan, listener, ...)                                                          \
        diagnostics_add((plan)->diagnostics, SEVERITY_WARNING, (listener)->config->file,           \
                        (listener)->config->line, __VA_ARGS__)

#endif
