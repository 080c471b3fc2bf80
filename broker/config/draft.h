/*
 * A configuration while it is being read: sockets found by name, and the place of everything that a
 * later check may have to point at. Becomes a struct config when there was no error.
 */
#ifndef CONFIG_DRAFT_H
#define CONFIG_DRAFT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/component_config.h"
#include "config/config.h"
#include "config/identity.h"
#include "core/hash.h"

struct place {
        const char *file; /* kept by the draft; NULL: nowhere */
        unsigned line;
};

struct draft_component;

struct draft_socket {
        struct socket_config config; /* without file and line until the end */
        struct place place;
        struct place *address_places; /* as many as config.addresses */
        struct place fd_name_place;
        struct place user_place; /* SocketUser= */
        bool is_unit_file;
        bool has_bad_address;  /* an error was reported for one: no need to say that none is left */
        const char *last_file; /* where its section began last: twice in one file is a mistake */
        char *service;         /* Service=, without ".service"; NULL */
        struct place service_place;
        const struct draft_component *server; /* the first that serves it */
        UT_hash_handle hh;
};

/* A name, and where it stands. */
struct reference {
        char *name;
        struct place place;
};

struct references {
        struct reference *items;
        size_t count;
};

struct directive;

/* An assignment that is read when everything else is known, or that may have to be refused. */
struct assignment {
        const struct directive *directive;
        char *value; /* NULL when it does not matter */
        struct place place;
};

struct assignments {
        struct assignment *items;
        size_t count;
};

enum walk { WALK_NOT_YET, WALK_ON_THE_WAY, WALK_DONE };

struct draft_component {
        struct component_config *config; /* one reference; NULL when it has moved away */
        struct place place;
        const char *last_file; /* as of a draft_socket */
        struct references sockets, after, before, requires, wants, part_of;
        struct assignments deferred;    /* what needs the listeners, in order */
        struct assignments restricting; /* what restricts the program and is not honoured */
        gid_t *groups;                  /* SupplementaryGroups= */
        size_t n_groups;
        bool has_uid, has_gid; /* User=, Group= */
        gid_t user_gid;        /* of User= … */
        bool has_user_gid;     /* … when /etc/passwd says it */
        int reload_signal;     /* ReloadSignal=; 0: not said */
        bool has_restart_kill_signal;
        bool has_notify_access;
        bool has_bad_command; /* an error was reported: no need to say that there is none */
        bool ignore_sandboxing;
        struct place user_place, health_place, health_socket_place, notify_place, start_place,
                steps_place, directory_place;
        /* While circles are looked for: */
        enum walk walk;
        size_t walk_next; /* of config->after */
        struct draft_component *walked_from;
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
        struct draft_component **components;
        size_t n_components;
        struct draft_component *components_by_name;
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

struct draft_component *draft_find_component(const struct draft *draft, const char *name);
/* As draft_add_socket(). */
struct draft_component *draft_add_component(struct draft *draft, const char *name,
                                            bool is_unit_file, struct place place);

/* Add to a list; 0 or -ENOMEM. */
int references_add(struct references *list, const char *name, struct place place);
void references_clear(struct references *list);
int assignments_add(struct assignments *list, const struct directive *directive, const char *value,
                    struct place place);
/* Forget all of one directive. */
void assignments_remove(struct assignments *list, const struct directive *directive);
void assignments_clear(struct assignments *list);

/*
 * What "%{KIND:NAME}" stands for in a component, when its listeners are resolved. 0, or -EINVAL
 * with a reason of at most SPECIFIERS_REASON_SIZE bytes.
 */
int draft_listener_number(const struct draft *draft, const struct draft_component *component,
                          const char *kind, const char *name, char *reason, unsigned *ret);

/*
 * The configuration, when there was no error; the draft is still to be freed.
 * 0, -EINVAL when there were errors, -ENOMEM.
 */
int draft_finish(struct draft *draft, struct config **ret);

#endif
