/*
 * One [Component NAME], or one NAME.service file: what the broker runs. Immutable once loaded and
 * counted by references, because a generation goes by the configuration with which it was started
 * while the next one may be started with another.
 */
#ifndef CONFIG_COMPONENT_CONFIG_H
#define CONFIG_COMPONENT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

/*
 * One command line, read as systemd.service(5) says: quotes and escapes undone, specifiers
 * expanded, $VARIABLES left for the start (environment.h), because environment files are read anew
 * for each generation.
 */
struct command {
        char *path;          /* absolute, or to be looked for in PATH at each start */
        char **arguments;    /* argv, [0] included ("@" replaces that); ends with NULL */
        bool ignore_failure; /* "-" */
        bool no_variables;   /* ":" */
        bool privileged;     /* "+", "!": as the broker's own user */
        bool unrestricted;   /* "+": with all that this user may do, too */
};

struct command_list {
        struct command *items;
        size_t count;
};

enum component_type { COMPONENT_SIMPLE, COMPONENT_EXEC, COMPONENT_NOTIFY };
enum notify_access { NOTIFY_NONE, NOTIFY_MAIN, NOTIFY_EXEC, NOTIFY_ALL };
enum kill_mode { KILL_CONTROL_GROUP, KILL_MIXED, KILL_PROCESS, KILL_NONE };
enum handover_mode { HANDOVER_OVERLAP, HANDOVER_STOP_FIRST };

/* Restart=, as bits of how a generation ended. */
enum restart_when {
        RESTART_ON_SUCCESS = 1, /* exit status 0, or by SIGHUP, SIGINT, SIGTERM, SIGPIPE */
        RESTART_ON_EXIT = 2,    /* another exit status */
        RESTART_ON_SIGNAL = 4,  /* another signal, or a core dump */
        RESTART_ON_TIMEOUT = 8,
        RESTART_ON_WATCHDOG = 16 /* also: unhealthy */
};

/* Ways to end: by exit status, by signal. */
struct exit_set {
        uint8_t status[256 / 8]; /* bit by exit status */
        uint64_t signals;        /* SIGNAL_BIT() */
};

#define SIGNAL_BIT(number) (UINT64_C(1) << ((number) -1)) /* 1 to 64 */

enum output_kind {
        OUTPUT_LOG,  /* through the broker's log: journal, and of standard output inherit */
        OUTPUT_SAME, /* of standard error: inherit, the very file or pipe of standard output */
        OUTPUT_NULL,
        OUTPUT_FILE,
        OUTPUT_APPEND,
        OUTPUT_TRUNCATE
};

struct output_config {
        enum output_kind kind;
        char *path; /* of a file */
};

enum health_kind {
        HEALTH_AUTO, /* not set: it is to be seen that it accepts */
        HEALTH_NO,   /* its own word is enough */
        HEALTH_TCP,
        HEALTH_HTTP,
        HEALTH_EXEC
};

struct health_config {
        enum health_kind kind;
        char *path;             /* HTTP */
        unsigned status;        /* HTTP: the one that is healthy; 0: any of 200 to 399 */
        struct command command; /* EXEC */
        char *socket;           /* HealthCheckSocket=; NULL: the first of `sockets` */
        uint64_t interval_usec; /* HealthCheckIntervalSec=, after ready; 0: no further checks */
        uint64_t timeout_usec;  /* of one probe */
        unsigned failures;      /* so many in a row are an illness */
};

/* Condition…= and Assert…=. */
enum condition_kind {
        CONDITION_PATH_EXISTS,
        CONDITION_PATH_EXISTS_GLOB,
        CONDITION_PATH_IS_DIRECTORY,
        CONDITION_PATH_IS_SYMBOLIC_LINK,
        CONDITION_PATH_IS_MOUNT_POINT,
        CONDITION_PATH_IS_READ_WRITE,
        CONDITION_DIRECTORY_NOT_EMPTY,
        CONDITION_FILE_NOT_EMPTY,
        CONDITION_FILE_IS_EXECUTABLE,
        CONDITION_USER, /* here ends what is about a path */
        CONDITION_ENVIRONMENT,
        N_CONDITION_KINDS
};

struct condition {
        enum condition_kind kind;
        bool is_assert;
        bool is_trigger; /* "|": one of them is enough */
        bool is_negated; /* "!" */
        bool is_user;    /* CONDITION_USER: the broker's user is this one */
        char *parameter;
};

struct conditions {
        struct condition *items;
        size_t count;
};

/* "PathExists" … */
const char *condition_kind_name(enum condition_kind kind);

/* RuntimeDirectory= and its like, in the order in which they are made. */
enum directory_kind {
        DIRECTORY_RUNTIME,
        DIRECTORY_STATE,
        DIRECTORY_CACHE,
        DIRECTORY_LOGS,
        DIRECTORY_CONFIGURATION,
        N_DIRECTORY_KINDS
};

struct directories {
        char *base;   /* absolute; not printed: where the system, or the user, has them */
        char **names; /* relative, below it; ends with NULL; NULL: none */
        mode_t mode;  /* RuntimeDirectoryMode= and its like */
};

enum preserve { PRESERVE_NO, PRESERVE_YES, PRESERVE_RESTART };

struct environment_file {
        char *path;
        bool optional; /* "-" */
};

#define USEC_INFINITY UINT64_MAX

struct component_config {
        unsigned references;
        char *name;
        char *file; /* where it begins, for messages */
        unsigned line;
        bool is_unit_file;
        char *description; /* NULL when there is none */

        char **sockets; /* names of listeners, in the order of their descriptors */
        size_t n_sockets;
        char **after; /* names of components: those of After=, and those whose Before= names us */
        size_t n_after;
        char **requires; /* Requires=, BindsTo=: components; started with us, fails without them */
        size_t n_requires;
        char **wants; /* started with us; does not fail without them */
        size_t n_wants;
        char **part_of; /* stopped and restarted with one of these, when that is asked for */
        size_t n_part_of;

        struct conditions conditions; /* in the order of the files */

        enum component_type type;
        struct command_list start_pre, start_post, reload, stop, stop_post;
        struct command start; /* ExecStart= */

        char **environment; /* Environment=, "NAME=VALUE"; ends with NULL; never NULL */
        struct environment_file *environment_files;
        size_t n_environment_files;
        char **pass_environment;  /* names of our own variables; ends with NULL; never NULL */
        char **unset_environment; /* "NAME", or "NAME=VALUE" with this value only; ends with NULL;
                                     NULL: none */
        struct directories directories[N_DIRECTORY_KINDS];
        enum preserve runtime_directory_preserve;
        char *working_directory; /* NULL: "/", or the home of User= for "~" */
        bool working_directory_optional;

        bool has_user; /* User= or Group=: to be changed to */
        char *user;    /* its name; NULL: the broker's own */
        char *home, *shell;
        uid_t uid;
        gid_t gid;
        gid_t *groups; /* supplementary: those of User= and of SupplementaryGroups= */
        size_t n_groups;
        /* Bit by capability, capabilities(7): */
        uint64_t denied_set;  /* that it can never have: all but CapabilityBoundingSet= */
        uint64_t ambient_set; /* that this one has, whoever its user is */
        bool no_new_privileges;
        mode_t umask;
        bool has_limit[RLIM_NLIMITS];
        struct rlimit limits[RLIM_NLIMITS]; /* Limit*= */
        bool has_nice;
        int nice;
        bool has_oom_score_adjust;
        int oom_score_adjust;

        uint64_t timeout_start_usec; /* USEC_INFINITY: none */
        uint64_t timeout_stop_usec;
        uint64_t watchdog_usec; /* 0: none */
        int kill_signal;
        int restart_kill_signal; /* RestartKillSignal=; as kill_signal */
        int final_kill_signal;
        int watchdog_signal;
        int reload_signal; /* Type=notify-reload: ReloadSignal=; 0: none */
        enum kill_mode kill_mode;
        bool send_sigkill, send_sighup;

        unsigned restart; /* restart_when */
        uint64_t restart_usec;
        unsigned restart_steps; /* 0: restart_usec always */
        uint64_t restart_max_delay_usec;
        uint64_t start_limit_interval_usec; /* 0: no limit */
        unsigned start_limit_burst;
        uint64_t trigger_limit_interval_usec; /* of on-demand starts; of its [Socket] section */
        unsigned trigger_limit_burst;
        struct exit_set success;       /* SuccessExitStatus=, with what always is one */
        struct exit_set no_restart;    /* RestartPreventExitStatus= */
        struct exit_set force_restart; /* RestartForceExitStatus= */

        enum notify_access notify_access;
        unsigned stored_max; /* FileDescriptorStoreMax= */
        struct output_config standard_output, standard_error;

        struct health_config health;
        enum handover_mode handover;
        unsigned instances;  /* Instances=, 1 to 64 */
        bool on_demand;      /* Start=on-demand: by the first connection or packet */
        bool manual;         /* Start=manual: only when it is asked for */
        uint64_t stall_usec; /* StallSec=; 0: not watched */
        bool stall_restart;  /* StallAction=restart: by hand-over; else it is reported */
        bool non_blocking;   /* NonBlocking= */
};

/* With the defaults of its kind and one reference; NULL when out of memory. */
struct component_config *component_config_new(const char *name, bool is_unit_file);
struct component_config *component_config_ref(struct component_config *config);
/* Frees it with the last reference. NULL allowed; returns NULL. */
struct component_config *component_config_unref(struct component_config *config);

/* Would a generation started by a be started by b in the same way? Name and place do not count. */
bool component_config_equal(const struct component_config *a, const struct component_config *b);

#endif
