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
struct control;

struct broker {
        struct loop *loop;
        struct log *log;
        struct limits limits;
        struct inherited *inherited; /* descriptors given at start and not yet claimed */
        char *config_path;           /* what apply loads again */
        struct config *config;       /* what is in force; replaced by apply, never changed */
        struct listener_table *listeners;
        struct control *control;
};

#endif
