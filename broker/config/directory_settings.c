/*
 * Reading RuntimeDirectory= and its like. Where they lie is found out here, as for the specifiers,
 * so that a user without such a folder hears of it when the configuration is loaded.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/choices.h"
#include "config/component_settings.h"
#include "config/parts.h"
#include "config/path.h"
#include "config/setting_support.h"
#include "config/values.h"

#define DIRECTORIES_MAX 256

/* file-hierarchy(7), and the XDG base directories for anybody but root. */
static const char *const bases[N_DIRECTORY_KINDS] = {
        [DIRECTORY_RUNTIME] = "%t", [DIRECTORY_STATE] = "%S",         [DIRECTORY_CACHE] = "%C",
        [DIRECTORY_LOGS] = "%L",    [DIRECTORY_CONFIGURATION] = "%E",
};

static bool find_base(const struct setting *s, struct directories *d) {
        size_t kind = (size_t) (d - s->component->config->directories);

        if (!d->base)
                d->base = setting_expand(s, bases[kind], specifiers_expand);
        return d->base;
}

/* "./a//b" becomes "a/b", for the caller to free; NULL when that was reported. */
static char *read_relative(const struct setting *s, const char *text) {
        char normalized[PATH_MAX];
        _cleanup_free_ char *path = NULL;
        const char *reason;
        char *copy;

        if (text[0] == '/') {
                setting_error(s, text, "write a name, not a path: where it lies is given");
                return NULL;
        }
        if (strchr(text, ':')) {
                setting_error(s, text,
                              "a symbolic link to the directory, or an option, behind ':' is not "
                              "supported: leave it out");
                return NULL;
        }
        if (asprintf(&path, "/%s", text) < 0)
                path = NULL;
        if (setting_lacks_memory(s, path))
                return NULL;
        if (path_normalize(path, normalized, sizeof(normalized), &reason) < 0) {
                setting_error(s, text, "%s", reason);
                return NULL;
        }
        copy = strdup(normalized + 1);
        return setting_lacks_memory(s, copy) ? NULL : copy;
}

static void add_directory(const struct setting *s, const char *word, void *owner) {
        struct directories *d = owner;
        _cleanup_free_ char *name = read_relative(s, word);

        if (!name || !find_base(s, d))
                return;
        if (strings_count(d->names) == DIRECTORIES_MAX)
                setting_error(s, word, "there are more than %d", DIRECTORIES_MAX);
        else if (strings_add(&d->names, name) < 0)
                s->draft->out_of_memory = true;
}

void setting_directories(const struct setting *s, const char *value, void *member) {
        struct directories *d = member;

        if (*value) {
                setting_each_word(s, value, add_directory, d);
                return;
        }
        strings_free(d->names);
        free(d->base);
        d->names = NULL;
        d->base = NULL;
}

void setting_directory_preserve(const struct setting *s, const char *value, void *member) {
        enum preserve *preserve = member;
        bool keeps;

        if (strcmp(value, preserve_words[PRESERVE_RESTART]) == 0)
                *preserve = PRESERVE_RESTART;
        else if (value_to_bool(value, &keeps) == 0)
                *preserve = keeps ? PRESERVE_YES : PRESERVE_NO;
        else
                setting_error(s, value, "write no, restart or yes");
}
