/* Listing folders. Not scandir(3): it has no limit and tells no errors of reading. See folder.h. */
#include "config/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/array.h"

static bool is_left_over(const char *name) {
        size_t length = strlen(name);

        return name[0] == '.' || name[length - 1] == '~' || strstr(name, ".dpkg-");
}

static int add_name(struct folder_names *names, const char *name) {
        char *copy;

        if (names->count == FOLDER_NAMES_MAX)
                return -E2BIG;
        if (array_grow(&names->items, names->count, sizeof(*names->items)) < 0)
                return -ENOMEM;
        copy = strdup(name);
        if (!copy)
                return -ENOMEM;
        names->items[names->count++] = copy;
        return 0;
}

static int read_names(DIR *d, struct folder_names *names) {
        for (;;) {
                const struct dirent *entry;
                int r;

                errno = 0;
                entry = readdir(d);
                if (!entry)
                        return -errno;
                if (is_left_over(entry->d_name))
                        continue;
                r = add_name(names, entry->d_name);
                if (r < 0)
                        return r;
        }
}

static int compare(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int folder_list(const char *path, struct folder_names *ret) {
        struct folder_names names = {0};
        DIR *d = opendir(path); /* close-on-exec, and never blocks: it opens with O_DIRECTORY */
        int r;

        if (!d)
                return -errno;
        r = read_names(d, &names);
        closedir(d);
        if (r < 0) {
                folder_names_clear(&names);
                return r;
        }
        if (names.count > 0)
                qsort(names.items, names.count, sizeof(*names.items), compare);
        *ret = names;
        return 0;
}

void folder_names_clear(struct folder_names *names) {
        for (size_t i = 0; i < names->count; i++)
                free(names->items[i]);
        free(names->items);
        *names = (struct folder_names){0};
}

bool folder_names_have(const struct folder_names *names, const char *name) {
        return names->count > 0 &&
               bsearch(&name, names->items, names->count, sizeof(*names->items), compare);
}

bool folder_name_ends(const char *name, const char *suffix) {
        size_t length = strlen(name), end = strlen(suffix);

        return length > end && strcmp(name + length - end, suffix) == 0;
}
