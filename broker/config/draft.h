/*
 * A configuration while it is being read: sockets found by name, and the place of everything that a
 * later check may have to point at. Becomes a struct config when there was no error.
 */
#ifndef CONFIG_DRAFT_H
#define CONFIG_DRAFT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "config/identity.h"
#include "core/hash.h"

struct place {
        const char *file; /* kept by the draft; NULL: nowhere */
        unsigned line;
};

struct draft_socket {
        struct socket_config config; /* without file and line until the end */
        struct place place;
        struct place *address_places; /* as many as config.addresses */
        struct place fd_name_place;
        struct place user_place; /* SocketUser= */
        bool is_unit_file;
        bool has_bad_address;  /* an error was reported for one: no need to say that none is left */
        const char *last_file; /* where its section began last: twice in one file is a mistake */
        UT_hash_handle hh;
};

struct draft_file;

struct draft {
        struct diagnostics *diagnostics;
        size_t errors_before; /* that are none of ours */
        struct identities *identities;
        uid_t uid; /* whose broker this is to be */
        gid_t gid;
        struct broker_config broker;
        struct broker_config broker_defaults;
        struct place control_socket_place;
        struct draft_socket **sockets; /* in the order of finding */
        size_t n_sockets;
        struct draft_socket *by_name;
        struct draft_file *files;
        bool out_of_memory; /* something is missing: the draft must not be used */
};

/* What a socket has before anything is said about it. */
extern const struct socket_config socket_config_defaults;

/* 0 or -ENOMEM. The diagnostics stay the caller's. */
int draft_new(struct draft **ret, struct diagnostics *diagnostics);
struct draft *draft_free(struct draft *draft);

/* A copy of a file's name that lives as long as the draft; NULL when out of memory. */
const char *draft_keep_file(struct draft *draft, const char *file);

struct draft_socket *draft_find_socket(const struct draft *draft, const char *name);
/* A new one with the defaults; the name must be free. NULL when out of memory. */
struct draft_socket *draft_add_socket(struct draft *draft, const char *name, bool is_unit_file,
                                      struct place place);

/*
 * The configuration, when there was no error; the draft is still to be freed.
 * 0, -EINVAL when there were errors, -ENOMEM.
 */
int draft_finish(struct draft *draft, struct config **ret);

#endif
