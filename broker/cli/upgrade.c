/*
 * fdpass upgrade: another program becomes the broker, without closing anything.
 *
 * The broker answers when it has tried the program and is about to execute it; the exec ends the
 * conversation. A new one then waits in the kept control socket until somebody serves, and who that
 * is tells how it went: the same process that has served since a later time is the new program;
 * another process is the old program, which the keeper started again.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/document.h"
#include "cli/exit_status.h"
#include "core/clock.h"

/* The trial has ten seconds, the start of the new program a minute. */
#define UPGRADE_TIMEOUT_MSEC 90000
#define EXEC_TIMEOUT_MSEC 30000

const struct option_spec upgrade_options[] = {{0}};

/* Which program serves. */
struct identity {
        uint64_t pid, since_usec;
        char version[64];
};

static void copy_version(const struct answer *answer, char *ret, size_t size) {
        const struct text *version = assignments_get(&answer->assignments, "VERSION");

        (void) snprintf(ret, size, "%.*s", version ? (int) version->length : 0,
                        version ? version->start : "");
}

static int identify(struct fdpass *c, struct identity *ret) {
        struct packet_writer w;
        struct answer *answer = NULL;
        int r;

        (void) fdpass_set_timeout(c, UPGRADE_TIMEOUT_MSEC);
        packet_begin(&w);
        packet_add(&w, "VERB", "HELLO");
        r = fdpass_call(c, &w, NULL, 0, &answer);
        if (r == 0) {
                ret->pid = assignments_u64(&answer->assignments, "BROKER_PID", 0);
                ret->since_usec = assignments_u64(&answer->assignments, "SINCE_USEC", 0);
                copy_version(answer, ret->version, sizeof(ret->version));
        }
        answer_free(answer);
        return r < 0 ? conversation_failed(c, "who serves", r) : STATUS_OK;
}

static int request(struct fdpass *c, const char *path, char *ret_version, size_t size) {
        struct packet_writer w;
        struct answer *answer = NULL;
        int r;

        packet_begin(&w);
        packet_add(&w, "VERB", "UPGRADE");
        if (path)
                packet_add(&w, "PATH", path);
        r = fdpass_call(c, &w, NULL, 0, &answer);
        if (r < 0) {
                answer_free(answer);
                r = conversation_failed(c, "the broker was not upgraded", r);
                return r == STATUS_NO_LISTENER ? STATUS_FAILED : r;
        }
        copy_version(answer, ret_version, size);
        answer_free(answer);
        return STATUS_OK;
}

/* The end of the conversation, which is the exec; or that there was none. */
static void wait_for_exec(struct fdpass *c) {
        struct pollfd p = {.fd = fdpass_get_fd(c), .events = POLLIN};

        (void) poll(&p, 1, EXEC_TIMEOUT_MSEC);
}

static int print(const struct cli *cli, const struct identity *before, const struct identity *after,
                 const char *wanted, uint64_t took_usec) {
        bool same_process = after->pid == before->pid;
        bool ok = same_process && after->since_usec != before->since_usec;

        if (cli->json) {
                json_t *root = json_pack(
                        "{s:i,s:b,s:o,s:o,s:o,s:I,s:I}", "schema", 1, "ok", ok, "from",
                        document_string(before->version), "wanted", document_string(wanted), "to",
                        document_string(after->version), "pid", (json_int_t) after->pid,
                        "took_usec", (json_int_t) took_usec);
                (void) document_print(root, stdout);
                json_decref(root);
        } else if (ok) {
                printf("Upgraded fdpassd %s to %s in %llu ms: same process (pid %llu), nothing was "
                       "closed.\n",
                       before->version, after->version, (unsigned long long) (took_usec / 1000),
                       (unsigned long long) after->pid);
        }
        if (!ok && same_process)
                display_error("fdpassd %s could not be executed; fdpassd %s carries on (pid %llu). "
                              "Its log says why.",
                              wanted, after->version, (unsigned long long) after->pid);
        else if (!ok)
                display_error("fdpassd %s died before it was ready; fdpassd %s was started again "
                              "(pid %llu) and has everything. The broker's log says why.",
                              wanted, after->version, (unsigned long long) after->pid);
        return ok ? STATUS_OK : STATUS_FAILED;
}

static int upgrade(const struct cli *cli, struct fdpass **c, const char *path) {
        struct identity before, after;
        uint64_t start = clock_monotonic_usec();
        char wanted[64];
        int status = identify(*c, &before);

        if (status == STATUS_OK)
                status = request(*c, path, wanted, sizeof(wanted));
        if (status != STATUS_OK)
                return status;
        wait_for_exec(*c);
        fdpass_close(*c);
        *c = NULL;
        status = conversation_open(cli, EXEC_TIMEOUT_MSEC * 1000ULL, c);
        if (status == STATUS_OK)
                status = identify(*c, &after);
        if (status != STATUS_OK)
                return status;
        return print(cli, &before, &after, wanted, clock_monotonic_usec() - start);
}

/* As the broker is to see it: its working folder is another. For free(3). */
static char *absolute(const char *path) {
        char *folder, *whole = NULL;

        if (path[0] == '/')
                return strdup(path);
        folder = get_current_dir_name();
        if (folder && asprintf(&whole, "%s/%s", folder, path) < 0)
                whole = NULL;
        free(folder);
        return whole;
}

int upgrade_run(struct cli *cli, int argc, char **argv) {
        _cleanup_free_ char *path = NULL;
        struct fdpass *c = NULL;
        int status, first = command_parse(cli, NULL, argc, argv, &status);

        if (first < 0)
                return status;
        if (argc - first > 1)
                return command_usage(cli, "'%s' is too much: one program", argv[first + 1]);
        if (first < argc) {
                if (strchr(argv[first], '\n') || !*argv[first])
                        return command_usage(cli, "this is no path of a program");
                path = absolute(argv[first]);
                if (!path) {
                        display_error("out of memory");
                        return STATUS_FAILED;
                }
        }
        status = conversation_open(cli, 0, &c);
        if (status == STATUS_OK)
                status = upgrade(cli, &c, path);
        fdpass_close(c);
        return status;
}
