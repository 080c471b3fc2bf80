/* A table of listeners without a broker around it, and configurations to apply to it. */
#ifndef TESTS_TABLE_SUPPORT_H
#define TESTS_TABLE_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/inherited.h"
#include "core/loop.h"
#include "sockets/listener_table.h"

struct world {
        struct loop *loop;
        struct listener_table *table;
        struct listener_watcher watcher;
        struct inherited *inherited;
        struct diagnostics diagnostics; /* of the last apply */
        struct apply_result result;
        bool allow_close;
        char events[512]; /* of the last apply: "-old +web " */
};

struct world *world_new(void);
void world_free(struct world *w);

struct config *load(const char *text);
/* Apply the text of a configuration; checks that errors are told when and only when it fails. */
int apply(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void expect_diagnostic(const struct world *w, enum severity severity, const char *part);
void expect_counts(const struct world *w, size_t opened, size_t adopted, size_t kept,
                   size_t changed, size_t closed);

/* By name; checks that it is in order and listens. */
struct listener *find(const struct world *w, const char *name);
/* A lease of this process. */
struct holder *hold(const struct world *w, const char *name);

/* Who a socket is: its descriptor and its inode. */
struct identity {
        int fd;
        ino_t inode;
};

struct identity identity_of(const struct world *w, const char *name, size_t index);
void expect_identity(const struct world *w, const char *name, size_t index,
                     struct identity expected);

#endif
