/*
 * One line says all of a restart that went well; what went wrong has its reason and the program's
 * last lines below it. What others wrote is escaped.
 */
#include "cli/receipt.h"

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/display.h"
#include "cli/document.h"

static const char *const red = "\033[31m", *const green = "\033[32m", *const off = "\033[0m";

static void print_escaped(FILE *stream, const char *text) {
        _cleanup_free_ char *shown = display_escape(text);

        fputs(shown ? shown : "?", stream);
}

/* ---- progress ---------------------------------------------------------------------------------*/

void receipt_print_progress(const struct assignments *event, bool color, FILE *stream) {
        const struct text *text = assignments_get(event, "TEXT");
        const struct text *step = assignments_get(event, "STEP");
        const struct text *pid = assignments_get(event, "PID");
        _cleanup_free_ char *copy = text ? text_dup(*text) : NULL;
        const char *tint = NULL;

        if (!text_equal(event->items[0].value, "PROGRESS") || !copy || !*copy)
                return;
        if (color && step && text_equal(*step, "ready"))
                tint = green;
        if (tint)
                fputs(tint, stream);
        print_escaped(stream, copy);
        if (pid && !strstr(copy, "pid "))
                fprintf(stream, " (pid %.*s)", (int) pid->length, pid->start);
        fprintf(stream, "%s\n", tint ? off : "");
}

/* ---- the receipt ------------------------------------------------------------------------------*/

static unsigned long long number(const json_t *item, const char *key) {
        return (unsigned long long) document_number(item, key);
}

/* "1.2 s", "340 ms" */
static void print_time(FILE *stream, unsigned long long ms) {
        if (ms >= 1000)
                fprintf(stream, "%llu.%llu s", ms / 1000, ms % 1000 / 100);
        else
                fprintf(stream, "%llu ms", ms);
}

static void print_drain(const json_t *item, FILE *stream) {
        unsigned long long before = number(item, "generation_before");

        if (number(item, "drain_ms") == 0)
                return; /* there was none before, or it was a reload */
        if (before == number(item, "generation"))
                fputs("; ", stream); /* stopped, and nothing came after it */
        else if (before > 0)
                fprintf(stream, "; %llu ", before);
        else
                return;
        fputs("drained in ", stream);
        print_time(stream, number(item, "drain_ms"));
        if (document_truth(item, "killed"))
                fputs(", then killed", stream);
}

/* Of a broker that does not say whether there are listeners, they are spoken of. */
static bool has_listeners(const json_t *item) {
        const json_t *listeners = json_object_get(item, "listeners");

        return !listeners || json_integer_value(listeners) > 0;
}

static void print_queue(const json_t *item, FILE *stream) {
        unsigned long long wait = number(item, "longest_wait_ms"), drops = number(item, "drops");

        if (wait > 0) {
                fputs("; longest wait in the queue at most ", stream);
                print_time(stream, wait);
        } else {
                fputs("; no wait seen in the queue", stream);
        }
        if (json_is_null(json_object_get(item, "drops")))
                fputs("; what the kernel dropped is not known (TCP_DEFER_ACCEPT)", stream);
        else if (drops == 0)
                fputs("; 0 connections dropped", stream);
        else /* one connection may have lost several, and come all the same */
                fprintf(stream, "; the kernel dropped %llu packet%s of new connections", drops,
                        drops == 1 ? "" : "s");
}

static void print_serves(const json_t *item, FILE *stream) {
        const char *ready_by = document_text(item, "ready_by");

        fprintf(stream, "generation %llu serves", number(item, "generation"));
        if (number(item, "generation_before") > 0)
                fprintf(stream, " (was %llu)", number(item, "generation_before"));
        fputs("; ready after ", stream);
        print_time(stream, number(item, "ready_ms"));
        if (*ready_by) {
                fputs(" by ", stream);
                print_escaped(stream, ready_by);
        }
        print_drain(item, stream);
        if (has_listeners(item))
                print_queue(item, stream);
}

static void print_kept(const json_t *item, FILE *stream) {
        fprintf(stream, "kept generation %llu: ", number(item, "generation_before"));
        if (number(item, "generation") > 0)
                fprintf(stream, "generation %llu does not serve", number(item, "generation"));
        else
                fputs("no other was started", stream);
}

static void print_failed(const json_t *item, FILE *stream) {
        if (number(item, "generation") > 0)
                fprintf(stream, "failed: generation %llu does not serve",
                        number(item, "generation"));
        else
                fputs("failed", stream);
        if (has_listeners(item))
                fputs(", and its listeners are held", stream);
}

static void print_goes_on(const json_t *item, FILE *stream) {
        if (number(item, "generation_before") > 0)
                fprintf(stream, ", and generation %llu goes on", number(item, "generation_before"));
}

/* A reload changes nothing of what serves, whatever becomes of it. */
static void print_not_reloaded(const json_t *item, FILE *stream) {
        fputs("not reloaded", stream);
        print_goes_on(item, stream);
}

static void print_not_restarted(const json_t *item, FILE *stream) {
        fputs("not restarted", stream);
        print_goes_on(item, stream);
}

static void print_stopped(const json_t *item, FILE *stream) {
        fputs("stopped", stream);
        print_drain(item, stream);
}

static void print_paused(const json_t *item, FILE *stream) {
        fputs("paused", stream);
        print_drain(item, stream);
}

static void print_reloaded(const json_t *item, FILE *stream) {
        fputs("reloaded", stream);
}

static void print_done(const json_t *item, FILE *stream) {
        fputs("done", stream);
        print_drain(item, stream);
}

static void print_nothing(const json_t *item, FILE *stream) {
        /* a condition is not met */
        fputs(*document_text(item, "reason") ? "not started" : "nothing to do", stream);
}

static void print_skipped(const json_t *item, FILE *stream) {
        fputs("not started", stream);
}

static void print_canceled(const json_t *item, FILE *stream) {
        fputs("canceled", stream);
}

static const struct verdict_text {
        const char *name;
        bool is_good;
        void (*print)(const json_t *item, FILE *stream);
} verdicts[] = {
        {"serves", true, print_serves},      {"kept", false, print_kept},
        {"failed", false, print_failed},     {"done", true, print_done},
        {"nothing", true, print_nothing},    {"skipped", false, print_skipped},
        {"canceled", false, print_canceled},
};

/* Where it matters what was asked for. */
static const struct kind_text {
        const char *kind;
        struct verdict_text verdict;
} kind_verdicts[] = {
        {"stop", {"done", true, print_stopped}},
        {"pause", {"done", true, print_paused}},
        {"reload", {"done", true, print_reloaded}},
        {"reload", {"failed", false, print_not_reloaded}},
        {"restart", {"skipped", false, print_not_restarted}},
};

static const struct verdict_text *verdict_of(const char *kind, const json_t *item) {
        const char *name = document_text(item, "verdict");

        for (size_t i = 0; i < sizeof(kind_verdicts) / sizeof(kind_verdicts[0]); i++)
                if (strcmp(kind_verdicts[i].kind, kind) == 0 &&
                    strcmp(kind_verdicts[i].verdict.name, name) == 0)
                        return &kind_verdicts[i].verdict;
        for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
                if (strcmp(verdicts[i].name, name) == 0)
                        return &verdicts[i];
        return NULL;
}

static void print_processes(const json_t *item, const char *key, const char *what, FILE *stream) {
        const json_t *process;
        size_t i;

        json_array_foreach(json_object_get(item, key), i, process) {
                unsigned long long connections = number(process, "connections");

                fprintf(stream, "    %llu ", number(process, "pid"));
                print_escaped(stream, document_text(process, "name"));
                fprintf(stream, " %s", what);
                if (json_object_get(process, "connections"))
                        fprintf(stream, " %llu connection%s", connections,
                                connections == 1 ? "" : "s");
                fputc('\n', stream);
        }
}

/* In the words of libc, and of node. */
static bool is_address_in_use(const char *text) {
        return strstr(text, "Address already in use") || strstr(text, "EADDRINUSE");
}

static void print_lines(const json_t *item, FILE *stream) {
        const json_t *lines = json_object_get(item, "last_lines"), *line;
        bool in_use = false;
        size_t i;

        if (json_array_size(lines) > 0)
                fputs("  its last lines:\n", stream);
        json_array_foreach(lines, i, line) {
                const char *text = json_string_value(line);

                fputs("    ", stream);
                print_escaped(stream, text ? text : "");
                fputc('\n', stream);
                in_use = in_use || (text && is_address_in_use(text));
        }
        if (in_use)
                fputs("  If that is the address of one of its listeners, it bound by itself "
                      "instead of "
                      "taking the socket\n  that it was given from descriptor 3 on: see Sockets= "
                      "in "
                      "fdpass.conf(5), or docs/servers.md.\n",
                      stream);
}

/* Who reads "failed" and turns away is not to be surprised by what comes up later, or goes on
 * failing. */
static void print_back_off(const json_t *item, FILE *stream) {
        const json_t *wait = json_object_get(item, "back_off_ms");

        if (!json_is_integer(wait))
                return;
        fputs("  It is started again in ", stream);
        print_time(stream, number(item, "back_off_ms"));
        fputs("; 'fdpass stop ", stream);
        print_escaped(stream, document_text(item, "name"));
        fputs("' ends that.\n", stream);
}

static void print_item(const char *kind, const json_t *item, bool color, FILE *stream) {
        const struct verdict_text *verdict = verdict_of(kind, item);
        const char *reason = document_text(item, "reason");
        bool good = verdict && verdict->is_good;

        /* Started already, and nobody asked about it. */
        if (verdict && verdict->print == print_nothing && !*reason &&
            !document_truth(item, "asked_for"))
                return;
        if (color)
                fputs(good ? green : red, stream);
        print_escaped(stream, document_text(item, "name"));
        fprintf(stream, "%s: ", color ? off : "");
        if (verdict)
                verdict->print(item, stream);
        else
                print_escaped(stream, document_text(item, "verdict"));
        if (*reason) {
                fputs(good ? "; " : ": ", stream);
                print_escaped(stream, reason);
        }
        fputc('\n', stream);
        print_processes(item, "held_on", "had", stream);
        print_processes(item, "strays", "left it and has its listener open", stream);
        print_lines(item, stream);
        if (!good)
                print_back_off(item, stream);
}

void receipt_print(const json_t *document, bool color, FILE *stream) {
        const char *kind = document_text(document, "kind");
        const json_t *item;
        size_t i;

        json_array_foreach(json_object_get(document, "components"), i, item)
                print_item(kind, item, color, stream);
        if (json_array_size(json_object_get(document, "components")) == 0)
                fputs("There is no component. Write a [Component NAME] section with ExecStart= "
                      "into "
                      "the broker's configuration, then 'fdpass apply'.\n",
                      stream);
}
