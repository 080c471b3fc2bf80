/*
 * Connecting, and one table from error codes to exit status, cause and next step, so that every
 * command says the same about the same failure.
 */
#include "cli/conversation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli/display.h"
#include "cli/document.h"
#include "cli/exit_status.h"
#include "config/suggestion.h"
#include "control_socket.h"
#include "core/clock.h"
#include "names.h"

/* While waiting for a broker to come up. */
#define WAIT_STEP_USEC 100000

struct failure {
        int error;
        enum exit_status status;
        const char *cause; /* when the broker did not say itself */
        const char *next;
};

static const struct failure failures[] = {
        {EHOSTDOWN, STATUS_NO_BROKER, "the broker went away",
         "See its log, or start it again (fdpassd)."},
        {ETIMEDOUT, STATUS_NO_BROKER, "the broker did not answer in time",
         "Is it stopped (SIGSTOP, a debugger) or is the machine overloaded?"},
        {ENOTCONN, STATUS_NO_BROKER, "the conversation with the broker broke off", "Try again."},
        {EPROTO, STATUS_FAILED, "the broker's answer makes no sense",
         "Are fdpass and fdpassd of the same version? See 'fdpass --version'."},
        {EACCES, STATUS_NOT_ALLOWED, "this user may not",
         "Access= and Operators= in the broker's configuration say who may."},
        {EPERM, STATUS_NOT_ALLOWED, "this user may not",
         "Access= and Operators= in the broker's configuration say who may."},
        {ENOENT, STATUS_NO_LISTENER, "there is no such listener, or none that this user may see",
         "'fdpass status' shows the listeners that there are."},
        {EBUSY, STATUS_FAILED, "it is in use", "'fdpass status' shows by whom."},
        {EDQUOT, STATUS_FAILED, "this user is at a limit of the broker",
         "End some of its processes that hold listeners."},
        {EMFILE, STATUS_FAILED, "this process may not open enough descriptors",
         "Raise the limit (ulimit -n)."},
        {ENFILE, STATUS_FAILED, "the system has no more descriptors", "See fs.file-max."},
        {ENOMEM, STATUS_FAILED, "out of memory", NULL},
};

static const struct failure *failure_of(int error) {
        for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
                if (failures[i].error == error)
                        return &failures[i];
        return NULL;
}

/* Where we looked, for the message. */
static const char *tried_path(const struct cli *cli, char buffer[CONTROL_SOCKET_PATH_SIZE]) {
        if (cli->socket)
                return cli->socket;
        return control_socket_find(buffer) < 0 ? "$FDPASS_SOCKET" : buffer;
}

static int open_failed(const struct cli *cli, int r) {
        char buffer[CONTROL_SOCKET_PATH_SIZE];
        const char *path = tried_path(cli, buffer);

        switch (-r) {
        case EHOSTDOWN:
                display_error("no broker answers at %s. Start one with 'fdpassd' (or 'systemctl "
                              "start fdpassd'), or say where it is with --socket=PATH or "
                              "FDPASS_SOCKET.",
                              path);
                return STATUS_NO_BROKER;
        case ETIMEDOUT:
                display_error("the broker at %s does not accept connections. Is it stopped "
                              "(SIGSTOP, a debugger)?",
                              path);
                return STATUS_NO_BROKER;
        case EACCES:
                display_error("no permission to connect to %s. Ask who runs the broker, or name "
                              "another one with --socket=PATH.",
                              path);
                return STATUS_NOT_ALLOWED;
        case EPERM:
                display_error("what answers at %s belongs neither to root nor to this user, and "
                              "is not trusted. Name the right broker with --socket=PATH.",
                              path);
                return STATUS_NOT_ALLOWED;
        case ENAMETOOLONG:
                display_error("the path of the control socket is longer than 107 bytes, the most "
                              "that a socket address holds: %s",
                              cli->socket ? cli->socket : "see FDPASS_SOCKET, XDG_RUNTIME_DIR");
                return STATUS_FAILED;
        default:
                display_error("no connection to the broker at %s: %s", path, strerror(-r));
                return STATUS_FAILED;
        }
}

int conversation_open(const struct cli *cli, uint64_t wait_usec, struct fdpass **ret) {
        uint64_t start = clock_monotonic_usec();
        bool told = false;
        int r;

        /* The socket's path does not exist before there is a broker and its folder may not either,
         * so there is nothing that could be watched. */
        while ((r = fdpass_open(ret, cli->socket)) == -EHOSTDOWN &&
               clock_monotonic_usec() - start < wait_usec) {
                char buffer[CONTROL_SOCKET_PATH_SIZE];
                if (!told)
                        display_error("waiting for a broker at %s", tried_path(cli, buffer));
                told = true;
                (void) usleep(WAIT_STEP_USEC);
        }
        return r < 0 ? open_failed(cli, r) : STATUS_OK;
}

int conversation_check_name(const char *noun, const char *name) {
        if (name_is_valid(name, strlen(name)))
                return STATUS_OK;
        display_error("there is no %s '%s': " NAME_RULE, noun, name);
        return STATUS_NO_LISTENER;
}

int conversation_failed(const struct fdpass *c, const char *what, int r) {
        const struct failure *failure = failure_of(-r);
        const char *said = fdpass_error(c);

        /* what the broker says is a whole sentence, or two */
        if (*said)
                display_error("%s", said);
        else if (!failure || !failure->next)
                display_error("%s: %s", what, failure ? failure->cause : strerror(-r));
        else
                display_error("%s: %s. %s", what, failure->cause, failure->next);
        return failure ? failure->status : STATUS_FAILED;
}

/* The name in this array, or `best`, that `name` may have meant; a view, or NULL. */
static const char *nearest_in(const json_t *array, const char *name, const char *best) {
        const json_t *one;
        size_t i;

        json_array_foreach(array, i, one) best =
                suggestion_better(name, best, document_text(one, "name"));
        return best;
}

static void say_none(const char *what, const char *name, const char *restriction,
                     const char *nearest) {
        display_error("there is no %s '%s'%s. %s%s%s", what, name, restriction,
                      nearest ? "Did you mean '" : "'fdpass status", nearest ? nearest : "",
                      nearest ? "'?" : "' shows those there are.");
}

/* That of a listener, or of either, that this user may see. */
static char *nearest_of(struct fdpass *c, const char *name, bool with_components) {
        json_t *document = NULL;
        const char *best;
        char *nearest;

        if (document_status(c, NULL, &document) < 0)
                return NULL;
        best = nearest_in(json_object_get(document, "listeners"), name, NULL);
        if (with_components)
                best = nearest_in(json_object_get(document, "components"), name, best);
        nearest = best ? strdup(best) : NULL;
        json_decref(document);
        return nearest;
}

int conversation_failed_listener(struct fdpass *c, const char *name, int r) {
        _cleanup_free_ char *what = NULL, *nearest = NULL;

        if (r == -ENOENT) {
                nearest = nearest_of(c, name, false);
                say_none("listener", name, ", or none that this user may see", nearest);
                return STATUS_NO_LISTENER;
        }
        if (asprintf(&what, "listener '%s'", name) < 0)
                what = NULL;
        return conversation_failed(c, what ? what : name, r);
}

int conversation_none_of_name(struct fdpass *c, const char *name) {
        _cleanup_free_ char *nearest = nearest_of(c, name, true);

        say_none("listener or component", name, ", or none that this user may see", nearest);
        return STATUS_NO_LISTENER;
}

/* The first that is not there, or the first of all. */
static const char *missing_of(const json_t *components, char *const *names, size_t n_names) {
        for (size_t i = 0; i < n_names; i++)
                if (!document_has(components, names[i]))
                        return names[i];
        return names[0];
}

/* Of the component that systemctl would call so; NULL: there is none. The caller's. */
static char *unit_stem(const json_t *components, const char *name) {
        static const char suffix[] = ".service";
        size_t length = strlen(name), end = sizeof(suffix) - 1;
        char *stem;

        if (length <= end || strcmp(name + length - end, suffix) != 0)
                return NULL;
        stem = strndup(name, length - end);
        if (stem && !document_has(components, stem)) {
                free(stem);
                stem = NULL;
        }
        return stem;
}

int conversation_failed_components(struct fdpass *c, char *const *names, size_t n_names, int r) {
        _cleanup_free_ char *stem = NULL;
        const json_t *components;
        json_t *document = NULL;
        const char *missing;

        if (r != -ENOENT || n_names == 0)
                return conversation_failed(c, n_names == 1 ? names[0] : "the components", r);
        (void) document_status(c, NULL, &document);
        components = json_object_get(document, "components");
        missing = missing_of(components, names, n_names);
        stem = unit_stem(components, missing);
        say_none("component", missing, "", stem ? stem : nearest_in(components, missing, NULL));
        json_decref(document);
        return STATUS_NO_LISTENER;
}
