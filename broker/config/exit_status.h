/* Exit statuses by number or by the names of systemd.exec(5). */
#ifndef CONFIG_EXIT_STATUS_H
#define CONFIG_EXIT_STATUS_H

/* 0, or -EINVAL: neither a number from 0 to 255 nor a name. */
int exit_status_from_name(const char *name, unsigned *ret);

#endif
