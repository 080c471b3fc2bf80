/* Reading Condition…= and Assert…=: systemd.unit(5), "Conditions and Asserts". */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/array.h"
#include "config/component_settings.h"
#include "config/parts.h"
#include "config/path.h"
#include "config/setting_support.h"
#include "config/values.h"

#define CONDITIONS_MAX 1024
#define SYSTEM_UID_MAX 999

static const char *const kind_names[N_CONDITION_KINDS] = {
        [CONDITION_PATH_EXISTS] = "PathExists",
        [CONDITION_PATH_EXISTS_GLOB] = "PathExistsGlob",
        [CONDITION_PATH_IS_DIRECTORY] = "PathIsDirectory",
        [CONDITION_PATH_IS_SYMBOLIC_LINK] = "PathIsSymbolicLink",
        [CONDITION_PATH_IS_MOUNT_POINT] = "PathIsMountPoint",
        [CONDITION_PATH_IS_READ_WRITE] = "PathIsReadWrite",
        [CONDITION_DIRECTORY_NOT_EMPTY] = "DirectoryNotEmpty",
        [CONDITION_FILE_NOT_EMPTY] = "FileNotEmpty",
        [CONDITION_FILE_IS_EXECUTABLE] = "FileIsExecutable",
        [CONDITION_USER] = "User",
        [CONDITION_ENVIRONMENT] = "Environment",
};

const char *condition_kind_name(enum condition_kind kind) {
        return kind_names[kind];
}

static bool is_assert(const char *key) {
        return strncmp(key, "Assert", strlen("Assert")) == 0;
}

static enum condition_kind kind_of(const char *key) {
        size_t kind = 0;

        key += strlen(is_assert(key) ? "Assert" : "Condition");
        while (kind < N_CONDITION_KINDS - 1 && strcmp(key, kind_names[kind]) != 0)
                kind++;
        return (enum condition_kind) kind;
}

/* In systemd an empty value takes back all of them, of whatever kind. */
static void reset(struct conditions *all, bool asserts) {
        size_t kept = 0;

        for (size_t i = 0; i < all->count; i++) {
                if (all->items[i].is_assert == asserts)
                        free(all->items[i].parameter);
                else
                        all->items[kept++] = all->items[i];
        }
        all->count = kept;
}

/* Whose broker this is to be is known now, and nobody is asked for names later. */
static bool is_user(const struct setting *s, const char *text) {
        uid_t uid;

        if (strcmp(text, "@system") == 0)
                return s->draft->uid <= SYSTEM_UID_MAX;
        return identities_uid(s->draft->identities, text, &uid) == 0 && uid == s->draft->uid;
}

/* For the caller to free; NULL when that was reported. */
static char *read_path(const struct setting *s, const char *text) {
        char normalized[PATH_MAX];
        const char *reason;
        char *copy;

        if (strspn(text, "/") == strlen(text) && *text) {
                copy = strdup("/");
        } else if (path_normalize(text, normalized, sizeof(normalized), &reason) < 0) {
                setting_error(s, text, "%s", reason);
                return NULL;
        } else {
                copy = strdup(normalized);
        }
        return setting_lacks_memory(s, copy) ? NULL : copy;
}

/* For the caller to free; NULL when that was reported. */
static char *read_parameter(const struct setting *s, const char *value, struct condition *c) {
        char *text = setting_expand(s, value, specifiers_expand), *path;

        if (!text)
                return NULL;
        if (c->kind < CONDITION_USER) {
                path = read_path(s, text);
                free(text);
                return path;
        }
        if (!*text || !value_is_text(text)) {
                setting_error(s, value, "write what it is to be compared with");
                free(text);
                return NULL;
        }
        c->is_user = c->kind == CONDITION_USER && is_user(s, text);
        return text;
}

/* "|!/path" */
static const char *read_flag(const char *value, char flag, bool *ret) {
        *ret = *value == flag;
        return *ret ? value + 1 + strspn(value + 1, " \t") : value;
}

void setting_condition(const struct setting *s, const char *value, void *member) {
        struct conditions *all = &s->component->config->conditions;
        struct condition c = {.kind = kind_of(s->directive->key),
                              .is_assert = is_assert(s->directive->key)};

        if (!*value) {
                reset(all, c.is_assert);
                return;
        }
        value = read_flag(value, '|', &c.is_trigger);
        value = read_flag(value, '!', &c.is_negated);
        if (all->count == CONDITIONS_MAX) {
                setting_error(s, value, "there are more than %d conditions", CONDITIONS_MAX);
                return;
        }
        c.parameter = read_parameter(s, value, &c);
        if (!c.parameter)
                return;
        if (array_grow(&all->items, all->count, sizeof(c)) < 0) {
                s->draft->out_of_memory = true;
                free(c.parameter);
                return;
        }
        all->items[all->count++] = c;
}
