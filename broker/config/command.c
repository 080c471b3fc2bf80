/* Owning and comparing command lines. */
#include "config/command.h"

#include <stdlib.h>
#include <string.h>

#include "config/parts.h"

void command_clear(struct command *command) {
        free(command->path);
        strings_free(command->arguments);
        *command = (struct command){0};
}

void command_list_clear(struct command_list *list) {
        for (size_t i = 0; i < list->count; i++)
                command_clear(&list->items[i]);
        free(list->items);
        *list = (struct command_list){0};
}

bool command_equal(const struct command *a, const struct command *b) {
        return string_equal(a->path, b->path) && strings_equal(a->arguments, b->arguments) &&
               a->ignore_failure == b->ignore_failure && a->no_variables == b->no_variables &&
               a->privileged == b->privileged && a->unrestricted == b->unrestricted;
}

bool command_list_equal(const struct command_list *a, const struct command_list *b) {
        if (a->count != b->count)
                return false;
        for (size_t i = 0; i < a->count; i++)
                if (!command_equal(&a->items[i], &b->items[i]))
                        return false;
        return true;
}
