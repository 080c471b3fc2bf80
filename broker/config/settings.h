/* How the value of each kind of directive is read: the functions in the table of directives.c. */
#ifndef CONFIG_SETTINGS_H
#define CONFIG_SETTINGS_H

#include "config/directives.h"

typedef void setting_parser(const struct setting *s, const char *value, void *member);

setting_parser setting_listen_stream;   /* struct address **addresses */
setting_parser setting_ipv6_only;       /* enum ipv6_only */
setting_parser setting_unsigned;        /* unsigned, 0 to 4294967295 */
setting_parser setting_seconds;         /* unsigned, 0 to 3600 */
setting_parser setting_limit;           /* unsigned, 1 to 1048576 */
setting_parser setting_mode;            /* mode_t */
setting_parser setting_bool;            /* bool */
setting_parser setting_socket_user;     /* uid_t socket_uid */
setting_parser setting_socket_group;    /* gid_t socket_gid */
setting_parser setting_fd_name;         /* char *fd_name */
setting_parser setting_access;          /* struct access_list */
setting_parser setting_control_socket;  /* char *control_socket */
setting_parser setting_stop_components; /* bool */
setting_parser setting_service;         /* char *service of the draft */
setting_parser setting_log_level;       /* enum log_level */

#endif
