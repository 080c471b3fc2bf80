/*
 * A start with the state document lost: what the kept descriptors themselves tell of the
 * configuration. What was in force stays in force after a crash, and a broken file must not keep
 * the broker from coming up with what is kept for it.
 */
#ifndef FDPASSD_LOST_H
#define FDPASSD_LOST_H

struct config;
struct inherited;
struct log;

/* The configuration in force, known by its memfd, which only we can have made. -ENOENT: none. */
int lost_find_config(const struct inherited *inherited, struct log *log, struct config **ret);

/*
 * When nothing else can be used: no listeners, and the control socket that is among what is kept.
 * -ENOENT when that is not there: nobody could reach the broker to mend anything.
 */
int lost_make_config(const struct inherited *inherited, struct log *log, struct config **ret);

#endif
