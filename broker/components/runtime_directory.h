/*
 * RuntimeDirectory=: what is to be removed when the last instance of a component is gone, by a
 * disposable child. While that works no instance begins, which would use what is being removed.
 */
#ifndef COMPONENTS_RUNTIME_DIRECTORY_H
#define COMPONENTS_RUNTIME_DIRECTORY_H

#include <stdbool.h>

struct component;
struct component_config;

struct runtime_directory;

/* An instance of this configuration is no more. The component's record says so until it is removed:
 * one of a component that is to have none must not stay because the broker died on the way. */
void runtime_directory_left(struct component *component, struct component_config *config);
bool runtime_directory_is_left(const struct component *component);
/* A broker before us said so. */
void runtime_directory_resume(struct component *component);
/* In the component's turn: removes when nothing of it is left and nothing is to follow. */
void runtime_directory_update(struct component *component);
/* Being removed: the end of that is followed by another turn. */
bool runtime_directory_is_busy(const struct component *component);
/* The component goes. */
void runtime_directory_free(struct component *component);

#endif
