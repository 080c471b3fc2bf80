/* The order is the kernel's: who is no root any more may neither set groups nor limit himself. */
#include "components/credentials.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool has(uint64_t set, int capability) {
        return set & (UINT64_C(1) << capability);
}

/* ---- user and groups --------------------------------------------------------------------------*/

static bool has_group(const gid_t *groups, int count, gid_t group) {
        for (int i = 0; i < count; i++)
                if (groups[i] == group)
                        return true;
        return group == getegid();
}

/*
 * A user's own broker may not set groups (EPERM), and need not when it has them already, which it
 * does when User= is who runs it.
 */
static int set_groups(const struct component_config *config) {
        gid_t own[NGROUPS_MAX];
        int count;

        if (setgroups(config->n_groups, config->groups) == 0)
                return 0;
        if (errno != EPERM)
                return -errno;
        count = getgroups(NGROUPS_MAX, own);
        for (size_t i = 0; i < config->n_groups; i++)
                if (!has_group(own, count, config->groups[i]))
                        return -EPERM;
        return 0;
}

static int change_user(const struct component_config *config) {
        int r = set_groups(config);

        if (r == 0 && setresgid(config->gid, config->gid, config->gid) < 0)
                r = -errno;
        if (r == 0 && setresuid(config->uid, config->uid, config->uid) < 0)
                r = -errno;
        return r;
}

/* ---- capabilities -----------------------------------------------------------------------------*/

/* Up to the last one that the kernel knows, which says EINVAL of the next. */
static int limit_bounding_set(uint64_t denied) {
        for (int c = 0; prctl(PR_CAPBSET_READ, c) >= 0; c++)
                if (has(denied, c) && prctl(PR_CAPBSET_READ, c) == 1 &&
                    prctl(PR_CAPBSET_DROP, c) < 0)
                        return -errno;
        return 0;
}

/* What a program inherits is what it is to have in the end: no file's capabilities add to it. */
static int set_inheritable(uint64_t set) {
        cap_t state = cap_get_proc();
        int r = state ? 0 : -errno;

        for (int c = 0; r == 0 && prctl(PR_CAPBSET_READ, c) >= 0; c++)
                if (cap_set_flag(state, CAP_INHERITABLE, 1, &c, has(set, c) ? CAP_SET : CAP_CLEAR) <
                    0)
                        r = -errno;
        if (r == 0 && cap_set_proc(state) < 0)
                r = -errno;
        (void) cap_free(state);
        return r;
}

static int raise_ambient_set(uint64_t set) {
        for (int c = 0; prctl(PR_CAPBSET_READ, c) >= 0; c++)
                if (has(set, c) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
                        return -errno;
        return 0;
}

/* Before the change of user, which would take what is to be kept. */
static int prepare_ambient_set(uint64_t set) {
        int r = set_inheritable(set);

        if (r == 0 && set && prctl(PR_SET_KEEPCAPS, 1) < 0) /* exec(2) clears it */
                r = -errno;
        return r;
}

/* ---- all of it --------------------------------------------------------------------------------*/

static int limit(const struct component_config *config, const char **ret_what) {
        int r = 0;

        if (config->denied_set) {
                *ret_what = "CapabilityBoundingSet";
                r = limit_bounding_set(config->denied_set);
        }
        if (r == 0 && (config->ambient_set || config->denied_set)) {
                *ret_what = config->ambient_set ? "AmbientCapabilities" : "CapabilityBoundingSet";
                r = prepare_ambient_set(config->ambient_set);
        }
        return r;
}

static int grant(const struct component_config *config, const char **ret_what) {
        int r = 0;

        if (config->ambient_set) {
                *ret_what = "AmbientCapabilities";
                r = raise_ambient_set(config->ambient_set);
        }
        if (r == 0 && config->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
                *ret_what = "NoNewPrivileges";
                r = -errno;
        }
        return r;
}

int credentials_change(const struct component_config *config, const struct command *command,
                       const char **ret_what) {
        int r = command->unrestricted ? 0 : limit(config, ret_what);

        if (r == 0 && config->has_user && !command->privileged) {
                *ret_what = config->user ? config->user : "";
                r = change_user(config);
        }
        return r == 0 && !command->unrestricted ? grant(config, ret_what) : r;
}
