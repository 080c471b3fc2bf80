/*
 * Any bytes as a configuration file: the reader, the directives and the checks must end in a
 * configuration or in errors, and what is printed of a configuration must load to the same.
 *
 * The first byte says which dialect: 's' is a .socket file, 'c' a .service file, anything else
 * fdpass.conf.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/component_config.h"
#include "config/config.h"
#include "config/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *printed(const struct config *config) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f || config_print(config, f) < 0)
                abort();
        fclose(f);
        return text;
}

/* Not the comments, which say where a listener was read. */
static void compare(const char *a, const char *b) {
        while (*a && *b) {
                size_t length = strcspn(a, "\n");

                if (*a != '#' && (strncmp(a, b, length) != 0 || b[length] != a[length]))
                        abort();
                a += length + (a[length] == '\n');
                b += strcspn(b, "\n");
                b += *b == '\n';
        }
        if (*a != *b)
                abort();
}

static void check_round_trip(const struct config *config) {
        struct diagnostics diagnostics = {0};
        struct config *again = NULL;
        char *first = printed(config), *second;

        if (config_load_text("again.conf", first, strlen(first), &diagnostics, &again) < 0) {
                diagnostics_print(&diagnostics, stderr);
                fprintf(stderr, "%s", first);
                abort();
        }
        second = printed(again);
        compare(first, second);
        for (size_t i = 0; i < config->n_sockets; i++)
                if (!socket_config_equal(config->sockets[i], again->sockets[i]))
                        abort();
        for (size_t i = 0; i < config->n_components; i++)
                if (!component_config_equal(config->components[i], again->components[i]))
                        abort();
        free(first);
        free(second);
        config_free(again);
        diagnostics_clear(&diagnostics);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct diagnostics diagnostics = {0};
        struct config *config = NULL;
        const char *name;
        int r;

        if (size == 0)
                return 0;
        name = data[0] == 's' ? "web@80.socket" : data[0] == 'c' ? "web@80.service" : "fdpass.conf";
        r = config_load_text(name, (const char *) data + 1, size - 1, &diagnostics, &config);
        if ((r == 0) != (diagnostics.errors == 0) || (r == 0) != (config != NULL))
                abort();
        if (config)
                check_round_trip(config);
        config_free(config);
        diagnostics_clear(&diagnostics);
        return 0;
}
