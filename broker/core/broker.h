/*
 * The broker object: everything that one broker is. There are no globals beside it, so ten of them
 * live in one test process. It is put together and taken apart in broker/fdpassd/assemble.c; the
 * members are owned by the broker and listed in order of creation.
 */
#ifndef CORE_BROKER_H
#define CORE_BROKER_H

#include <stdbool.h>

#include "core/limits.h"

struct loop;
struct log;
struct config;
struct inherited;
struct listener_table;
struct component_table;
struct memory;
struct control;

struct broker {
        struct loop *loop;
        struct log *log;
        struct limits limits;
        bool log_level_is_fixed;     /* by --log-level, whatever LogLevel= says */
        struct memory *memory;       /* what outlives us; NULL: nothing does */
        struct inherited *inherited; /* descriptors given at start and not yet claimed */
        char *config_path;           /* what apply loads again */
        int config_fd;               /* of the memory: config as it was kept; -1 when it is not */
        struct config *config;       /* what is in force; replaced by apply, never changed */
        struct listener_table *listeners;
        struct component_table *components;
        struct control *control;

        /*
         * What UPGRADE needs of the process that this broker is; NULL where it is not one (tests).
         * execute() becomes the program and returns only if that fails, with a negative errno.
         */
        const char *executable; /* the path from which it was started */
        int (*execute)(void *process, int executable_fd, const char *version);
        void *process;
};

#endif
