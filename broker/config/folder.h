/* The names in a folder of configuration, sorted, without those that editors and packages leave. */
#ifndef CONFIG_FOLDER_H
#define CONFIG_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#define FOLDER_NAME_MAX 255 /* NAME_MAX of every file system, limits.h */
#define FOLDER_NAMES_MAX 65536

struct folder_names {
        size_t count;
        char **items;
};

/*
 * List a folder. Hidden files, "*~" and "*.dpkg-*" are left out.
 *
 * Returns 0 with *ret for the caller to folder_names_clear(); -E2BIG (more than FOLDER_NAMES_MAX);
 * -ENOENT, -ENOTDIR, -EACCES and the like; -ENOMEM.
 */
int folder_list(const char *path, struct folder_names *ret);
void folder_names_clear(struct folder_names *names);

bool folder_names_have(const struct folder_names *names, const char *name);

/* Does it end in `suffix`, with something before that? */
bool folder_name_ends(const char *name, const char *suffix);

#endif
