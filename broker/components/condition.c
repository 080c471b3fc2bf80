/* See condition.h. What each kind means to systemd, also where a file is not there. */
#include "components/condition.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool path_exists(const struct condition *c) {
        return access(c->parameter, F_OK) == 0;
}

static bool path_exists_glob(const struct condition *c) {
        glob_t found = {0};
        int r = glob(c->parameter, GLOB_NOSORT | GLOB_BRACE, NULL, &found);

        globfree(&found);
        return r == 0;
}

static bool path_is_directory(const struct condition *c) {
        struct stat st;

        return stat(c->parameter, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool path_is_symbolic_link(const struct condition *c) {
        struct stat st;

        return lstat(c->parameter, &st) == 0 && S_ISLNK(st.st_mode);
}

static bool path_is_mount_point(const struct condition *c) {
        struct statx stx;

        return statx(AT_FDCWD, c->parameter, 0, STATX_TYPE, &stx) == 0 &&
               (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* One that is not there is none that cannot be written to. */
static bool path_is_read_write(const struct condition *c) {
        struct statvfs st;

        return statvfs(c->parameter, &st) < 0 || !(st.f_flag & ST_RDONLY);
}

static bool counts(const char *name) {
        size_t length = strlen(name);

        return name[0] != '.' && strcmp(name, "lost+found") != 0 && name[length - 1] != '~';
}

static bool directory_not_empty(const struct condition *c) {
        DIR *folder = opendir(c->parameter);
        const struct dirent *entry;
        bool found = false;

        if (!folder)
                return errno != ENOENT && errno != ENOTDIR;
        while (!found && (entry = readdir(folder)))
                found = counts(entry->d_name);
        (void) closedir(folder);
        return found;
}

static bool file_not_empty(const struct condition *c) {
        struct stat st;

        return stat(c->parameter, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

static bool file_is_executable(const struct condition *c) {
        struct stat st;

        return stat(c->parameter, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

static bool is_user(const struct condition *c) {
        return c->is_user;
}

/* Of the broker: "NAME", or "NAME=VALUE". */
static bool is_in_environment(const struct condition *c) {
        size_t length = strlen(c->parameter);
        bool has_value = strchr(c->parameter, '=');

        for (char **e = environ; *e; e++)
                if (strncmp(*e, c->parameter, length) == 0 &&
                    (*e)[length] == (has_value ? '\0' : '='))
                        return true;
        return false;
}

static bool (*const tests[N_CONDITION_KINDS])(const struct condition *c) = {
        [CONDITION_PATH_EXISTS] = path_exists,
        [CONDITION_PATH_EXISTS_GLOB] = path_exists_glob,
        [CONDITION_PATH_IS_DIRECTORY] = path_is_directory,
        [CONDITION_PATH_IS_SYMBOLIC_LINK] = path_is_symbolic_link,
        [CONDITION_PATH_IS_MOUNT_POINT] = path_is_mount_point,
        [CONDITION_PATH_IS_READ_WRITE] = path_is_read_write,
        [CONDITION_DIRECTORY_NOT_EMPTY] = directory_not_empty,
        [CONDITION_FILE_NOT_EMPTY] = file_not_empty,
        [CONDITION_FILE_IS_EXECUTABLE] = file_is_executable,
        [CONDITION_USER] = is_user,
        [CONDITION_ENVIRONMENT] = is_in_environment,
};

/* Of the conditions, or of the assertions: all without "|", and one of those with it. */
static size_t find_unmet(const struct conditions *all, bool asserts) {
        size_t trigger = all->count;
        bool triggered = false;

        for (size_t i = 0; i < all->count; i++) {
                const struct condition *c = &all->items[i];
                bool is_met;

                if (c->is_assert != asserts)
                        continue;
                is_met = tests[c->kind](c) != c->is_negated;
                if (!c->is_trigger && !is_met)
                        return i;
                if (c->is_trigger && trigger == all->count)
                        trigger = i;
                triggered = triggered || (c->is_trigger && is_met);
        }
        return triggered ? all->count : trigger;
}

size_t conditions_find_unmet(const struct conditions *all) {
        size_t i = find_unmet(all, false);

        return i < all->count ? i : find_unmet(all, true);
}
