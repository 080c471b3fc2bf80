/*
 * fdpass logs: the last lines that a component wrote, and those that come. Lines have numbers and
 * times, so that after events were dropped, or the broker went away and came back, what is shown
 * again is nothing and what is missing is asked for.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/document.h"
#include "cli/exit_status.h"

/* For a broker that died or is being upgraded. */
#define PATIENCE_USEC (60 * 1000 * 1000ULL)
/* To ask for what was missed, when a flood of what comes kept the broker from telling. */
#define MISSED_MSEC 100
/* All that a broker keeps. */
#define LINES_ALL "99999"
#define LINES_DIGITS_MAX (sizeof(LINES_ALL) - 1)

struct logs_values {
        bool follow;
        const char *lines;
};

const struct option_spec logs_options[] = {
        {"follow", 'f', OPTION_FLAG, offsetof(struct logs_values, follow), NULL,
         "go on with the lines that come"},
        {"lines", 'n', OPTION_TEXT, offsetof(struct logs_values, lines), "N",
         "so many of the last lines; by default 50"},
        {0}};

struct logs {
        const struct cli *cli;
        const char *name;
        bool follow, color;
        bool was_there;                  /* the component, when it was asked for the first time */
        uint64_t last_usec, last_number; /* shown already */
        bool missed;                     /* lines, that are to be asked for */
        uint64_t instances;
        struct fdpass *c;
};

/* One line, wherever it came from. */
struct line {
        uint64_t number, time_usec, generation, instance;
        bool is_error;
        const char *text;
};

/* ---- printing ---------------------------------------------------------------------------------*/

static void print_json(const struct line *line) {
        json_t *object =
                json_pack("{s:I,s:I,s:I,s:I,s:b,s:o}", "number", (json_int_t) line->number,
                          "time_usec", (json_int_t) line->time_usec, "generation",
                          (json_int_t) line->generation, "instance", (json_int_t) line->instance,
                          "error", line->is_error, "text", document_string(line->text));

        if (object)
                (void) document_print_line(object, stdout); /* fetch() and the like flush it */
        json_decref(object);
}

/* "12:03:44 8 | text", and with several instances "8.2": the generation tells a restart. */
static void print_text(const struct logs *logs, const struct line *line) {
        _cleanup_free_ char *shown = display_escape(line->text);
        time_t seconds = (time_t) (line->time_usec / 1000000);
        char when[16] = "?", who[48];
        struct tm local;

        if (localtime_r(&seconds, &local))
                (void) strftime(when, sizeof(when), "%H:%M:%S", &local);
        if (logs->instances > 1)
                (void) snprintf(who, sizeof(who), "%llu.%llu",
                                (unsigned long long) line->generation,
                                (unsigned long long) line->instance + 1);
        else
                (void) snprintf(who, sizeof(who), "%llu", (unsigned long long) line->generation);
        printf("%s%s %s%s %s%s%s %s\n", logs->color ? "\033[2m" : "", when, who,
               logs->color ? "\033[0m" : "", logs->color && line->is_error ? "\033[31m" : "",
               line->is_error ? "!" : "|", logs->color && line->is_error ? "\033[0m" : "",
               shown ? shown : "out of memory");
}

static void print_line(struct logs *logs, const struct line *line) {
        if (line->time_usec < logs->last_usec ||
            (line->time_usec == logs->last_usec && line->number <= logs->last_number))
                return;
        logs->last_usec = line->time_usec;
        logs->last_number = line->number;
        if (logs->cli->json)
                print_json(line);
        else
                print_text(logs, line);
}

static void print_document(struct logs *logs, const json_t *document) {
        const json_t *one;
        size_t i;

        logs->instances = document_number(document, "instances");
        json_array_foreach(json_object_get(document, "lines"), i, one) {
                const struct line line = {.number = document_number(one, "number"),
                                          .time_usec = document_number(one, "time_usec"),
                                          .generation = document_number(one, "generation"),
                                          .instance = document_number(one, "instance"),
                                          .is_error = document_truth(one, "error"),
                                          .text = document_text(one, "text")};

                print_line(logs, &line);
        }
}

/* ---- asking -----------------------------------------------------------------------------------*/

static int gone(const struct logs *logs) {
        display_error("%s was removed from the configuration and has ended; nothing more comes. "
                      "'fdpass status' shows the components there are.",
                      logs->name);
        return STATUS_NO_LISTENER;
}

static int fetch(struct logs *logs, const char *lines) {
        struct packet_writer request;
        struct answer *answer = NULL;
        json_t *document = NULL;
        int r;

        packet_begin(&request);
        packet_add(&request, "VERB", "LOGS");
        packet_add(&request, "NAME", logs->name);
        if (lines)
                packet_add(&request, "LINES", lines);
        if (logs->follow)
                packet_add(&request, "FOLLOW", "1");
        r = fdpass_call(logs->c, &request, NULL, 0, &answer);
        if (r == 0)
                r = document_take(answer, &document);
        answer_free(answer);
        if (r == -ENOENT && logs->was_there)
                return gone(logs);
        /* More has come than was read: to the broker we look as if we had not read its last answer.
         */
        logs->missed = r == -EBUSY && logs->was_there;
        if (logs->missed)
                return STATUS_OK;
        if (r < 0)
                return conversation_failed_components(logs->c, (char *const *) &logs->name, 1, r);
        logs->was_there = true;
        print_document(logs, document);
        json_decref(document);
        return fflush(stdout) == 0 ? STATUS_OK : STATUS_FAILED;
}

/* ---- following --------------------------------------------------------------------------------*/

static uint64_t number_of(const struct fdpass *c, const char *key) {
        const char *text = fdpass_event_value(c, key);

        return text ? strtoull(text, NULL, 10) : 0;
}

static int show_event(struct logs *logs) {
        const char *event = fdpass_event(logs->c), *error = fdpass_event_value(logs->c, "ERROR");
        const char *text = fdpass_event_value(logs->c, "TEXT");
        const struct line line = {.number = number_of(logs->c, "NUMBER"),
                                  .time_usec = number_of(logs->c, "TIME_USEC"),
                                  .generation = number_of(logs->c, "GENERATION"),
                                  .instance = number_of(logs->c, "INSTANCE"),
                                  .is_error = error && strcmp(error, "1") == 0,
                                  .text = text ? text : ""};

        if (strcmp(event, "OVERFLOW") == 0)
                return fetch(logs, LINES_ALL);
        if (strcmp(event, "LOG_END") == 0)
                return gone(logs);
        if (strcmp(event, "LOG") == 0)
                print_line(logs, &line);
        return fflush(stdout) == 0 ? STATUS_OK : STATUS_FAILED;
}

/* Its components went on meanwhile, and what they wrote waited in their pipes. */
static int come_back(struct logs *logs) {
        int status;

        logs->c = fdpass_close(logs->c);
        status = conversation_open(logs->cli, PATIENCE_USEC, &logs->c);
        return status == STATUS_OK ? fetch(logs, LINES_ALL) : status;
}

/* Until Ctrl-C, the end of stdout's reader, of the component, or of the broker. */
static int follow(struct logs *logs) {
        int status = STATUS_OK;

        while (status == STATUS_OK) {
                struct pollfd p[] = {{.fd = fdpass_get_fd(logs->c), .events = POLLIN},
                                     {.fd = STDOUT_FILENO}}; /* a reader that has gone away */
                int wait = fdpass_get_timeout(logs->c), r;
                bool asks = logs->missed && (wait < 0 || wait > MISSED_MSEC);

                r = poll(p, 2, asks ? MISSED_MSEC : wait);
                if (r < 0 && errno != EINTR)
                        return STATUS_FAILED;
                if (r == 0 && asks) { /* it is quiet */
                        status = fetch(logs, LINES_ALL);
                        continue;
                }
                if (p[1].revents & POLLERR)
                        return STATUS_OK;
                r = fdpass_process(logs->c);
                if (r == 1)
                        status = show_event(logs);
                else if (r == -EHOSTDOWN)
                        status = come_back(logs);
                else if (r < 0)
                        status = conversation_failed(logs->c, "the output", r);
        }
        return status;
}

/* How many lines are asked for: all digits of --lines=, which the broker is told as they are. */
static bool parse_lines(const char *text, unsigned *ret) {
        size_t digits = strspn(text, "0123456789");

        if (digits == 0 || digits > LINES_DIGITS_MAX || text[digits])
                return false;
        *ret = (unsigned) strtoul(text, NULL, 10);
        return true;
}

int logs_run(struct cli *cli, int argc, char **argv) {
        struct logs_values values = {0};
        struct logs logs = {.cli = cli};
        int status, first = command_parse(cli, &values, argc, argv, &status);
        unsigned lines = 1; /* some: the broker's default */

        if (first < 0)
                return status;
        if (argc - first != 1)
                return command_usage(cli, "name one component");
        if (values.lines && !parse_lines(values.lines, &lines))
                return command_usage(cli, "--lines=%s is no number from 0 to 99999", values.lines);
        logs.name = argv[first];
        logs.follow = values.follow;
        logs.color = display_color(cli->color, stdout);
        status = conversation_check_name("component", logs.name);
        if (status == STATUS_OK)
                status = conversation_open(cli, 0, &logs.c);
        if (status == STATUS_OK)
                status = fetch(&logs, values.lines);
        if (status == STATUS_OK && !values.follow && !cli->json && logs.last_usec == 0 && lines > 0)
                fprintf(stderr, "%s has written nothing that the broker remembers.\n", logs.name);
        if (status == STATUS_OK && values.follow)
                status = follow(&logs);
        fdpass_close(logs.c);
        return status;
}
