/*
 * What systemd passed to us. One of the few files that know libsystemd; it is asked only for what
 * it does without blocking.
 */
#include "core/inherited.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "cleanup.h"
#include "core/log.h"

struct entry {
        char *name;
        char *id; /* NULL when it is not one that we had kept */
        int fd;
};

struct inherited {
        size_t count;
        size_t room;
        struct entry *entries;
};

int inherited_new(struct inherited **ret) {
        struct inherited *all = calloc(1, sizeof(*all));

        if (!all)
                return -ENOMEM;
        *ret = all;
        return 0;
}

struct inherited *inherited_free(struct inherited *all) {
        if (!all)
                return NULL;
        while (all->count > 0)
                close_fd(inherited_take_fd(all, all->count - 1));
        free(all->entries);
        free(all);
        return NULL;
}

static int make_room(struct inherited *all) {
        if (all->count == all->room) {
                size_t room = all->room ? 2 * all->room : 16;
                struct entry *entries = reallocarray(all->entries, room, sizeof(*entries));

                if (!entries)
                        return -ENOMEM;
                all->entries = entries;
                all->room = room;
        }
        return 0;
}

int inherited_put_kept_fd(struct inherited *all, const char *name, const char *id, int fd) {
        struct entry e = {.name = strdup(name), .id = id ? strdup(id) : NULL, .fd = fd};

        if (!e.name || (id && !e.id) || make_room(all) < 0) {
                free(e.name);
                free(e.id);
                close_fd(fd);
                return -ENOMEM;
        }
        all->entries[all->count++] = e;
        return 0;
}

int inherited_put_fd(struct inherited *all, const char *name, int fd) {
        return inherited_put_kept_fd(all, name, NULL, fd);
}

size_t inherited_count(const struct inherited *all) {
        return all->count;
}

const char *inherited_name(const struct inherited *all, size_t index) {
        return all->entries[index].name;
}

const char *inherited_id(const struct inherited *all, size_t index) {
        return all->entries[index].id;
}

int inherited_peek_fd(const struct inherited *all, size_t index) {
        return all->entries[index].fd;
}

int inherited_take_fd(struct inherited *all, size_t index) {
        int fd = all->entries[index].fd;

        free(all->entries[index].name);
        free(all->entries[index].id);
        all->count--;
        memmove(&all->entries[index], &all->entries[index + 1],
                (all->count - index) * sizeof(all->entries[0]));
        if (all->count == 0) { /* as a rule for good */
                free(all->entries);
                all->entries = NULL;
                all->room = 0;
        }
        return fd;
}

int inherited_take_named(struct inherited *all, const char *name) {
        for (size_t i = all->count; i-- > 0;)
                if (strcmp(all->entries[i].name, name) == 0)
                        return inherited_take_fd(all, i);
        return -1;
}

int inherited_from_environment(struct inherited **ret, struct log *log) {
        struct inherited *all;
        char **names = NULL;
        int r, n, error = 0;

        r = inherited_new(&all);
        if (r < 0)
                return r;
        /* Sets close-on-exec, checks LISTEN_PID, unsets the variables: no component may see them.
         */
        n = sd_listen_fds_with_names(1, &names);
        if (n < 0)
                log_error(log, NULL,
                          "the sockets that systemd passed cannot be taken: %s; are LISTEN_FDS and "
                          "LISTEN_FDNAMES well-formed?",
                          strerror(-n));
        for (int i = 0; i < n; i++) {
                r = inherited_put_fd(all, names[i], SD_LISTEN_FDS_START + i);
                if (r < 0)
                        error = r;
                free(names[i]);
        }
        free(names);
        if (n < 0 || error < 0) {
                inherited_free(all);
                return n < 0 ? n : error;
        }
        *ret = all;
        return 0;
}
