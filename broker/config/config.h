/*
 * A validated, immutable configuration. Loaded whole or not at all; compared with another one by
 * the listener table when it is applied.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "config/access.h"
#include "config/address.h"
#include "config/diagnostics.h"
#include "core/limits.h"
#include "core/log.h"

struct component_config;

enum ipv6_only { IPV6_ONLY_DEFAULT, IPV6_ONLY_BOTH, IPV6_ONLY_ONLY }; /* BindIPv6Only= */

/*
 * One [Socket NAME], or one NAME.socket file. Loaded ones are a single block of memory with all
 * that they point to, which has as many owners as it has users.
 */
struct socket_config {
        char *name;
        char *file;                 /* where it begins, for messages */
        struct address **addresses; /* ListenStream=, in order; at least one; see address_size() */
        size_t n_addresses;
        unsigned line;
        unsigned n_users; /* 0: in parts, being read */
        enum ipv6_only ipv6_only;
        unsigned backlog;
        bool has_socket_user, has_socket_group;
        uid_t socket_uid;      /* SocketUser= */
        gid_t socket_gid;      /* SocketGroup=, else the user's own group */
        mode_t socket_mode;    /* 0666 */
        mode_t directory_mode; /* 0755 */
        bool non_blocking;
        char *fd_name; /* FileDescriptorName=; NAME, for a unit file NAME.socket */
        struct access_list access;
        struct access_list operators;
        /* TriggerLimitIntervalSec=, TriggerLimitBurst=; the strictest of a component's listeners
         * are in its component_config. 0: no limit. */
        uint64_t trigger_limit_interval_usec;
        unsigned trigger_limit_burst;
};

/* [Broker] */
struct broker_config {
        char *control_socket; /* NULL: the default place */
        struct access_list operators;
        struct access_list store_access;
        struct limits limits;
        unsigned offer_wait_sec; /* how long a start waits for holders; 0: it does not */
        bool has_log_level;
        enum log_level log_level;
        bool has_stop_components; /* else it is decided at run time */
        bool stop_components;     /* when fdpassd is told to end */
};

struct config {
        struct broker_config broker;
        struct socket_config **sockets; /* sorted by name */
        size_t n_sockets;
        struct component_config **components; /* likewise; a reference each */
        size_t n_components;
};

/*
 * Load a file (with FILE.d/ *.conf beside it) or a folder (fdpass.conf, fdpass.conf.d/ *.conf,
 * *.socket and *.service, each with its own .d/ *.conf). Touches nothing but these files,
 * /etc/passwd and /etc/group: names are looked up there and not through NSS, because a name server
 * must not be able to stop the broker.
 *
 * Returns 0 with *ret for the caller to config_free(), when there was no error (warnings are in
 * `diagnostics`); -EINVAL when the configuration is wrong, -ENOENT when path does not exist, both
 * with the reasons in `diagnostics`; -ENOMEM.
 */
int config_load(const char *path, struct diagnostics *diagnostics, struct config **ret);

struct config *config_free(struct config *config);

/* NULL when there is none of that name. */
const struct socket_config *config_find_socket(const struct config *config, const char *name);
/* Likewise; lent: take a reference to outlive the configuration. */
struct component_config *config_find_component(const struct config *config, const char *name);

/*
 * For who outlives the configuration: for the caller to socket_config_free(). What was loaded never
 * changes, and so it is shared, and freed with its last user; of what is in parts a block is made.
 * 0 or -ENOMEM.
 */
int socket_config_copy(const struct socket_config *original, struct socket_config **ret);
struct socket_config *socket_config_free(struct socket_config *config); /* NULL allowed */

/*
 * Would a listener made from a serve for b without touching its sockets or their options? What is
 * not about the sockets is not compared: name, place, FileDescriptorName=, Access=, Operators=.
 */
bool socket_config_equal(const struct socket_config *a, const struct socket_config *b);

/* The resolved configuration in its own syntax: loading that gives the same configuration. */
int config_print(const struct config *config, FILE *stream);

/*
 * Where configuration is by default: /etc/fdpass for root, else $XDG_CONFIG_HOME/fdpass, else
 * ~/.config/fdpass. For the caller to free(3); NULL when there is no home or no memory.
 */
char *config_default_path(void);

#endif
