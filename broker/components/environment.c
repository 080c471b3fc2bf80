/*
 * The list of variables, where it comes from, and what of the broker's own is left out. Relies on
 * running in the child: environment files may lie on a file system that hangs.
 */
#include "components/environment.h"

#include <errno.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/component_config.h"

/* ---- the list --------------------------------------------------------------------------------*/

/* The index of a variable, or count. */
static size_t find(const struct environment *e, const char *name, size_t length) {
        size_t i = 0;

        while (i < e->count &&
               (strncmp(e->items[i], name, length) != 0 || e->items[i][length] != '='))
                i++;
        return i;
}

static int grow(struct environment *e) {
        size_t capacity = e->capacity > 0 ? 2 * e->capacity : 32;
        char **items;

        if (e->count + 1 < e->capacity) /* one for the NULL at the end */
                return 0;
        items = reallocarray(e->items, capacity, sizeof(*items));
        if (!items)
                return -ENOMEM;
        e->items = items;
        e->capacity = capacity;
        return 0;
}

/* Takes item, also when it fails. */
static int put(struct environment *e, char *item, size_t name_length) {
        size_t i;

        if (!item || grow(e) < 0) {
                free(item);
                return -ENOMEM;
        }
        i = find(e, item, name_length);
        if (i == e->count)
                e->items[++e->count] = NULL;
        else
                free(e->items[i]);
        e->items[i] = item;
        return 0;
}

int environment_set(struct environment *e, const char *name, const char *value) {
        char *item;

        if (asprintf(&item, "%s=%s", name, value) < 0)
                return -ENOMEM;
        return put(e, item, strlen(name));
}

int environment_put(struct environment *e, const char *assignment) {
        return put(e, strdup(assignment), strcspn(assignment, "="));
}

void environment_unset(struct environment *e, const char *name) {
        size_t length = strcspn(name, "="), i = find(e, name, length);

        if (i == e->count || (name[length] == '=' && strcmp(e->items[i], name) != 0))
                return;
        free(e->items[i]);
        memmove(&e->items[i], &e->items[i + 1], (e->count - i) * sizeof(*e->items));
        e->count--;
}

const char *environment_get(const struct environment *e, const char *name) {
        size_t length = strlen(name), i = find(e, name, length);

        return i < e->count ? e->items[i] + length + 1 : NULL;
}

void environment_clear(struct environment *e) {
        for (size_t i = 0; i < e->count; i++)
                free(e->items[i]);
        free(e->items);
        *e = (struct environment){0};
}

/* ---- where it comes from ---------------------------------------------------------------------*/

/*
 * What a service manager, a shell or a former broker said to the broker about itself: a component
 * that found it would answer for the broker (NOTIFY_SOCKET), take its descriptors (LISTEN_FDS) or
 * write into its folders (STATE_DIRECTORY).
 */
static const char *const about_the_broker[] = {
        "CACHE_DIRECTORY",
        "CONFIGURATION_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "EXIT_CODE",
        "EXIT_STATUS",
        "FDPASS_*",
        "FDSTORE",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "LISTEN_*",
        "LOGS_DIRECTORY",
        "MAINPID",
        "MANAGERPID",
        "MANAGERPIDFDID",
        "MEMORY_PRESSURE_*",
        "MONITOR_*",
        "NOTIFY_SOCKET",
        "PIDFILE",
        "REMOTE_*",
        "RUNTIME_DIRECTORY",
        "SERVICE_RESULT",
        "SERVER_STARTER_PORT",
        "SO_COOKIE",
        "STATE_DIRECTORY",
        "SYSTEMD_EXEC_PID",
        "TRIGGER_*",
        "WATCHDOG_*",
        "_",
};

static bool is_about_the_broker(const char *assignment) {
        size_t length = strcspn(assignment, "=");

        for (size_t i = 0; i < sizeof(about_the_broker) / sizeof(*about_the_broker); i++) {
                const char *pattern = about_the_broker[i];
                size_t n = strcspn(pattern, "*");

                if (strncmp(assignment, pattern, n) == 0 && (pattern[n] == '*' || n == length))
                        return true;
        }
        return false;
}

static int put_own(struct environment *e, char *const *own) {
        int r = 0;

        for (size_t i = 0; r == 0 && own[i]; i++)
                if (strchr(own[i], '=') && !is_about_the_broker(own[i]))
                        r = environment_put(e, own[i]);
        return r;
}

/* PassEnvironment= names what the component wants to have although it is about the broker. */
static int put_passed(struct environment *e, char *const *own, char *const *names) {
        int r = 0;

        for (; *names && r == 0; names++)
                for (size_t i = 0; r == 0 && own[i]; i++) {
                        size_t n = strlen(*names);
                        if (strncmp(own[i], *names, n) == 0 && own[i][n] == '=')
                                r = environment_put(e, own[i]);
                }
        return r;
}

static int put_user(struct environment *e, const struct component_config *config) {
        int r = 0;

        if (!config->user)
                return 0;
        if (config->home)
                r = environment_set(e, "HOME", config->home);
        if (r == 0)
                r = environment_set(e, "USER", config->user);
        if (r == 0)
                r = environment_set(e, "LOGNAME", config->user);
        if (r == 0 && config->shell)
                r = environment_set(e, "SHELL", config->shell);
        return r;
}

static const char *const directory_variables[N_DIRECTORY_KINDS] = {
        [DIRECTORY_RUNTIME] = "RUNTIME_DIRECTORY",
        [DIRECTORY_STATE] = "STATE_DIRECTORY",
        [DIRECTORY_CACHE] = "CACHE_DIRECTORY",
        [DIRECTORY_LOGS] = "LOGS_DIRECTORY",
        [DIRECTORY_CONFIGURATION] = "CONFIGURATION_DIRECTORY",
};

/* "/run/a:/run/b" */
static int put_directories(struct environment *e, const char *variable,
                           const struct directories *d) {
        size_t size = 1;
        char *paths, *p;
        int r;

        for (char **name = d->names; *name; name++)
                size += strlen(d->base) + strlen(*name) + 2;
        paths = p = calloc(size, 1);
        if (!paths)
                return -ENOMEM;
        for (char **name = d->names; *name; name++)
                p += sprintf(p, "%s%s/%s", name == d->names ? "" : ":", d->base, *name);
        r = environment_set(e, variable, paths);
        free(paths);
        return r;
}

/* The path of EnvironmentFile= may be a pattern, as in systemd. */
static int put_file(struct environment *e, const struct environment_file *file) {
        glob_t found = {0};
        int r = glob(file->path, GLOB_NOSORT, NULL, &found);

        if (r == 0)
                for (size_t i = 0; r == 0 && i < found.gl_pathc; i++)
                        r = environment_load(e, found.gl_pathv[i]);
        else if (r == GLOB_NOSPACE)
                r = -ENOMEM;
        else /* to have its error: glob(3) does not tell one */
                r = environment_load(e, file->path);
        globfree(&found);
        return file->optional && r != -ENOMEM ? 0 : r;
}

int environment_build(struct environment *e, char *const *own,
                      const struct component_config *config, const char **ret_what) {
        int r = put_own(e, own);

        if (r == 0)
                r = put_passed(e, own, config->pass_environment);
        if (r == 0)
                r = put_user(e, config);
        for (size_t i = 0; r == 0 && i < N_DIRECTORY_KINDS; i++)
                if (config->directories[i].names)
                        r = put_directories(e, directory_variables[i], &config->directories[i]);
        for (size_t i = 0; r == 0 && config->environment[i]; i++)
                r = environment_put(e, config->environment[i]);
        for (size_t i = 0; r == 0 && i < config->n_environment_files; i++) {
                r = put_file(e, &config->environment_files[i]);
                if (r < 0 && r != -ENOMEM)
                        *ret_what = config->environment_files[i].path;
        }
        return r;
}
