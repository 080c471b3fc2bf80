/* Printing a configuration in its own syntax, for the files of this folder. */
#ifndef CONFIG_PRINT_H
#define CONFIG_PRINT_H

#include <stddef.h>
#include <stdio.h>

#include "config/component_config.h"

/* The text with each '%' doubled. */
void print_percent(FILE *f, const char *text);
/* "KEY=TEXT", for a value that value_is_text(). */
void print_text(FILE *f, const char *key, const char *text);
/* "KEY=1 2", several lines of them if need be, none for none. */
void print_ids(FILE *f, const char *key, const char *prefix, const unsigned *ids, size_t n);

void print_component(FILE *f, const struct component_config *component);

/* How long a word is in quotes, and a whole command. */
size_t print_quoted_size(const char *text);
size_t print_command_size(const struct command *command);

#endif
