/*
 * From the file system to a configuration: which files belong to it and in which order they are
 * read. Folders are listed once and sorted, so that the result does not depend on the order in
 * which the file system has them.
 */
#include "config/load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "config/check.h"
#include "config/dialect.h"
#include "config/draft.h"
#include "config/folder.h"
#include "config/source.h"
#include "names.h"

#define MAIN_FILE "fdpass.conf"

struct loading {
        struct draft *draft;
        struct diagnostics *diagnostics;
};

/* What a unit file is of. */
struct unit {
        enum unit_kind kind;
        const char *suffix;
        const char *noun;
        char name[NAME_LENGTH_MAX + 1];
};

static const struct {
        const char *suffix;
        const char *noun;
} unit_kinds[] = {
        [UNIT_SOCKET] = {".socket", "listener"},
        [UNIT_SERVICE] = {".service", "component"},
};

#define N_UNIT_KINDS (sizeof(unit_kinds) / sizeof(unit_kinds[0]))

#define report(l, severity, path, ...)                                                             \
        diagnostics_add((l)->diagnostics, severity, (path), 0, __VA_ARGS__)

/* A failure that was reported, so that loading goes on to find more; -ENOMEM was not. */
static int unless_out_of_memory(int r) {
        return r == -ENOMEM ? r : 0;
}

/* ---- one file ---- */

/* fdpass.conf when `unit` is NULL, else a unit file of that listener, or a drop-in of either. */
static int read_text(struct loading *l, const struct unit *unit, const char *file, const char *data,
                     size_t size) {
        if (unit)
                return dialect_read_unit(l->draft, unit->kind, unit->name, file, data, size);
        return dialect_read_fdpass(l->draft, file, data, size);
}

/* 1 when it was read, 0 when it is masked or the failure was reported. */
static int read_file(struct loading *l, const struct unit *unit, const char *path) {
        struct source source;
        int r = source_read(path, l->diagnostics, &source);

        if (r <= 0)
                return unless_out_of_memory(r);
        /* an empty unit file masks as a link to /dev/null does, systemd.unit(5) */
        r = unit && source.size == 0 ? 0 : read_text(l, unit, path, source.data, source.size);
        if (r == 0)
                r = source.size > 0;
        source_clear(&source);
        return r;
}

/* ---- drop-ins ---- */

static int read_drop_in(struct loading *l, const struct unit *unit, const char *folder,
                        const char *name) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (!folder_name_ends(name, ".conf"))
                return 0;
        if (asprintf(&path, "%s/%s", folder, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = read_file(l, unit, path);
        return r < 0 ? r : 0;
}

/* PATH.d/ *.conf, when there is such a folder. */
static int read_drop_ins(struct loading *l, const struct unit *unit, const char *path) {
        _cleanup_free_ char *folder = NULL;
        struct folder_names names;
        int r;

        if (asprintf(&folder, "%s.d", path) < 0) {
                folder = NULL;
                return -ENOMEM;
        }
        r = folder_list(folder, &names);
        if (r == -ENOENT)
                return 0;
        if (r < 0 && r != -ENOMEM)
                report(l, SEVERITY_ERROR, folder, "cannot be read: %s", strerror(-r));
        if (r < 0)
                return unless_out_of_memory(r);
        for (size_t i = 0; i < names.count && r == 0; i++)
                r = read_drop_in(l, unit, folder, names.items[i]);
        folder_names_clear(&names);
        return r;
}

/* ---- unit files ---- */

/* "FOLDER/web@.socket" for "FOLDER/web@8080.socket"; NULL for a unit that has no template. */
static int template_path(const struct unit *unit, const char *path, char **ret) {
        const char *base = strrchr(path, '/');
        const char *at = strchr(base ? base : path, '@');

        *ret = NULL;
        if (!at)
                return 0;
        return asprintf(ret, "%.*s%s", (int) (at - path + 1), path, unit->suffix) < 0 ? -ENOMEM : 0;
}

static int read_unit_drop_ins(struct loading *l, const struct unit *unit, const char *path) {
        _cleanup_free_ char *template = NULL;
        int r = template_path(unit, path, &template);

        if (r < 0) {
                template = NULL;
                return r;
        }
        if (template)
                r = read_drop_ins(l, unit, template);
        return r < 0 ? r : read_drop_ins(l, unit, path);
}

/* 1 with *ret, 0 when it is no unit file, -EINVAL when that was reported. */
static int find_unit(struct loading *l, const char *path, struct unit *ret) {
        const char *base = strrchr(path, '/');
        size_t kind = 0, length;

        base = base ? base + 1 : path;
        while (kind < N_UNIT_KINDS && !folder_name_ends(path, unit_kinds[kind].suffix))
                kind++;
        if (kind == N_UNIT_KINDS)
                return 0;
        *ret = (struct unit){.kind = (enum unit_kind) kind,
                             .suffix = unit_kinds[kind].suffix,
                             .noun = unit_kinds[kind].noun};
        length = strlen(base) - strlen(ret->suffix);
        if (!name_is_valid(base, length)) {
                report(l, SEVERITY_ERROR, path,
                       "'%.*s' cannot be a %s's name: rename the file so that it has A-Z a-z "
                       "0-9 . _ @ - only and does not begin with '.' or '-'",
                       (int) length, base, ret->noun);
                return -EINVAL;
        }
        if (base[length - 1] == '@') {
                report(l, SEVERITY_WARNING, path,
                       "this is a template, ignored: make a symbolic link %.*sINSTANCE%s to it for "
                       "each %s",
                       (int) length, base, ret->suffix, ret->noun);
                return -EINVAL;
        }
        *(char *) mempcpy(ret->name, base, length) = '\0';
        return 1;
}

/* 1 when it is a unit file, read or reported; 0 when it is none; -ENOMEM. */
static int load_unit(struct loading *l, const char *path) {
        struct unit unit;
        int r = find_unit(l, path, &unit);

        if (r <= 0)
                return r == 0 ? 0 : 1;
        r = read_file(l, &unit, path);
        if (r > 0)
                r = read_unit_drop_ins(l, &unit, path);
        return r < 0 ? r : 1;
}

/* ---- the folder ---- */

static int load_main(struct loading *l, const char *path, bool exists) {
        int r = exists ? read_file(l, NULL, path) : 0;

        return r < 0 ? r : read_drop_ins(l, NULL, path);
}

/* "web.socket.d" without "web.socket" has no effect, and that is never what was meant. */
static void check_orphan(struct loading *l, const struct folder_names *names, const char *path,
                         const char *name) {
        char owner[FOLDER_NAME_MAX + 1];

        *(char *) mempcpy(owner, name, strlen(name) - 2) = '\0';
        if (!folder_names_have(names, owner))
                report(l, SEVERITY_WARNING, path, "there is no %s to which this could add; ignored",
                       owner);
}

static int load_entry(struct loading *l, const struct folder_names *names, const char *path,
                      const char *name) {
        int r = load_unit(l, path);

        if (r != 0)
                return r < 0 ? r : 0;
        if (folder_name_ends(name, ".socket.d") || folder_name_ends(name, ".service.d"))
                check_orphan(l, names, path, name);
        else if (folder_name_ends(name, ".conf") && strcmp(name, MAIN_FILE) != 0)
                report(l, SEVERITY_WARNING, path,
                       "this file is not read: the configuration is " MAIN_FILE " and " MAIN_FILE
                       ".d/*.conf");
        return 0;
}

static int load_names(struct loading *l, const char *folder, const struct folder_names *names) {
        _cleanup_free_ char *main_path = NULL;
        int r;

        if (asprintf(&main_path, "%s/" MAIN_FILE, folder) < 0) {
                main_path = NULL;
                return -ENOMEM;
        }
        r = load_main(l, main_path, folder_names_have(names, MAIN_FILE));
        for (size_t i = 0; i < names->count && r == 0; i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s/%s", folder, names->items[i]) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                r = load_entry(l, names, path, names->items[i]);
        }
        return r;
}

static int load_folder(struct loading *l, const char *folder) {
        struct folder_names names;
        int r = folder_list(folder, &names);

        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                report(l, SEVERITY_ERROR, folder, "cannot be read: %s", strerror(-r));
                return 0;
        }
        r = load_names(l, folder, &names);
        folder_names_clear(&names);
        return r;
}

/* ---- all ---- */

static int load_path(struct loading *l, const char *path) {
        struct stat st;
        bool found;
        int r;

        if (path[0] == '\0') {
                report(l, SEVERITY_ERROR, "configuration",
                       "its path is empty: name a file or folder");
                return -ENOENT;
        }
        found = stat(path, &st) == 0;
        if (!found && (errno == ENOENT || errno == ENOTDIR)) {
                report(l, SEVERITY_ERROR, path,
                       "there is no such file or folder: make it, or name the one where the "
                       "configuration is (fdpassd --config PATH, fdpass check PATH)");
                return -ENOENT;
        }
        if (found && S_ISDIR(st.st_mode))
                return load_folder(l, path);
        r = load_unit(l, path);
        if (r != 0)
                return r < 0 ? r : 0;
        /* In a folder /dev/null masks a file; named as the configuration it is a mistake. */
        if (found && S_ISCHR(st.st_mode)) {
                report(l, SEVERITY_ERROR, path,
                       "is a device, not a file: name the file or folder of the configuration");
                return -EINVAL;
        }
        r = read_file(l, NULL, path);
        return r < 0 ? r : read_drop_ins(l, NULL, path);
}

static int finish(struct loading *l, int r, const char *path, struct config **ret) {
        if (r == 0) {
                check_draft(l->draft, path);
                r = draft_finish(l->draft, ret);
        }
        draft_free(l->draft);
        return r;
}

int config_load(const char *path, struct diagnostics *diagnostics, struct config **ret) {
        struct loading l = {.diagnostics = diagnostics};
        _cleanup_free_ char *plain = strdup(path);
        size_t length = strlen(path);
        int r;

        if (!plain)
                return -ENOMEM;
        while (length > 1 && plain[length - 1] == '/')
                plain[--length] = '\0'; /* for messages such as /etc/fdpass/fdpass.conf:3 */
        r = draft_new(&l.draft, diagnostics);
        if (r < 0)
                return r;
        return finish(&l, load_path(&l, plain), plain, ret);
}

int config_load_text(const char *file, const char *data, size_t size,
                     struct diagnostics *diagnostics, struct config **ret) {
        struct loading l = {.diagnostics = diagnostics};
        struct unit unit;
        int r = draft_new(&l.draft, diagnostics);

        if (r < 0)
                return r;
        r = find_unit(&l, file, &unit);
        if (r >= 0)
                r = read_text(&l, r > 0 ? &unit : NULL, file, data, size);
        else
                r = 0; /* it was reported */
        return finish(&l, r, file, ret);
}
