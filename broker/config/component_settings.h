/* How the values of a component's directives are read; as settings.h. */
#ifndef CONFIG_COMPONENT_SETTINGS_H
#define CONFIG_COMPONENT_SETTINGS_H

#include "config/settings.h"

/* command_settings.c */
setting_parser setting_start;        /* struct command: ExecStart= */
setting_parser setting_commands;     /* struct command_list */
setting_parser setting_health_check; /* struct health_config */
setting_parser setting_environment;  /* char **environment */
setting_parser setting_unset_environment;

/* exec_settings.c */
setting_parser setting_environment_file;
setting_parser setting_pass_environment;
setting_parser setting_working_directory;
setting_parser setting_user;
setting_parser setting_group;
setting_parser setting_supplementary_groups;
setting_parser setting_rlimit_bytes; /* struct rlimit, a member of the array limits */
setting_parser setting_rlimit_count;
setting_parser setting_rlimit_seconds;
setting_parser setting_rlimit_usec;
setting_parser setting_rlimit_nice;
setting_parser setting_nice;
setting_parser setting_oom_score_adjust;
setting_parser setting_standard_output;
setting_parser setting_standard_error;

/* capability_settings.c */
setting_parser setting_bounding_set; /* uint64_t, bit by capability: what is not in it */
setting_parser setting_ambient_set;  /* uint64_t: what is */

/* condition_settings.c */
setting_parser setting_condition;

/* directory_settings.c */
setting_parser setting_directories; /* struct directories, a member of the array */
setting_parser setting_directory_preserve;

/* component_settings.c */
setting_parser setting_description;
setting_parser setting_sockets;
setting_parser setting_after;
setting_parser setting_before;
setting_parser setting_requires;
setting_parser setting_wants;
setting_parser setting_part_of;
setting_parser setting_type;
setting_parser setting_notify_access;
setting_parser setting_kill_mode;
setting_parser setting_restart;
setting_parser setting_handover;
setting_parser setting_start_when;
setting_parser setting_stall_action;
setting_parser setting_signal; /* int */
setting_parser setting_reload_signal;
setting_parser setting_kill_signal;
setting_parser setting_restart_kill_signal;
setting_parser setting_span;          /* uint64_t, microseconds */
setting_parser setting_timeout;       /* likewise; 0 is infinity */
setting_parser setting_timeout_both;  /* TimeoutSec= */
setting_parser setting_watchdog;      /* likewise; infinity is 0 */
setting_parser setting_probe_timeout; /* likewise; neither */
setting_parser setting_exits;         /* struct exit_set */
setting_parser setting_instances;     /* unsigned, 1 to 64 */
setting_parser setting_failures;      /* unsigned, 1 to 1000 */
setting_parser setting_stored;        /* unsigned, 0 to 1048576 */
setting_parser setting_steps;         /* unsigned, 0 to 1000 */
setting_parser setting_health_socket;
setting_parser setting_ignore_sandboxing;

/* Is this the name of a systemd unit that is neither a service nor without a suffix? */
bool unit_is_of_other_kind(const char *name);

#endif
