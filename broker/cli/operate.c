/*
 * fdpass start, stop, restart, reload, pause and resume: one request, progress while it is done,
 * and a receipt. The job has an id of our own making, so that a broker that dies meanwhile, or is
 * upgraded, is asked for the same job again and not for another restart.
 */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/document.h"
#include "cli/exit_status.h"
#include "cli/receipt.h"

/* The start of a program that was upgraded has a minute. */
#define PATIENCE_MSEC 60000

/* As the verbs' row has it. */
#define NAMES_MAX 64
#define NAMES_SIZE 4096

#define JOB_ID_SIZE 33

struct operate_values {
        bool all, no_wait;
};

const struct option_spec operate_options[] = {
        {"all", 'a', OPTION_FLAG, offsetof(struct operate_values, all), NULL, "all components"},
        {"no-wait", 0, OPTION_FLAG, offsetof(struct operate_values, no_wait), NULL,
         "come back when it has begun, without a verdict"},
        {0}};

struct operation {
        const struct cli *cli;
        const struct operate_values *values;
        size_t n_names;
        char **names;
        char id[JOB_ID_SIZE];
        bool color;
};

/* ---- what is asked for ------------------------------------------------------------------------*/

static int check_names(const struct operation *op, char names[NAMES_SIZE]) {
        size_t used = 0;

        names[0] = '\0';
        if (op->n_names > NAMES_MAX)
                return command_usage(op->cli, "%zu components are too many: at most %d at once",
                                     op->n_names, NAMES_MAX);
        for (size_t i = 0; i < op->n_names; i++) {
                int status = conversation_check_name("component", op->names[i]);

                if (status != STATUS_OK)
                        return status;
                if (used + strlen(op->names[i]) + 1 >= NAMES_SIZE)
                        return command_usage(op->cli, "the names are too long for one request: "
                                                      "name fewer at once");
                used += (size_t) sprintf(names + used, "%s%s", i ? " " : "", op->names[i]);
        }
        return STATUS_OK;
}

static int make_id(char id[JOB_ID_SIZE]) {
        unsigned char bytes[(JOB_ID_SIZE - 1) / 2];

        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
                return -errno;
        for (size_t i = 0; i < sizeof(bytes); i++)
                (void) sprintf(id + 2 * i, "%02x", bytes[i]);
        return 0;
}

static void compose(const struct operation *op, const char *names, struct packet_writer *w) {
        char verb[16] = "";

        for (size_t i = 0; i < sizeof(verb) - 1 && op->cli->command->name[i]; i++)
                verb[i] = (char) toupper(op->cli->command->name[i]);
        packet_begin(w);
        packet_add(w, "VERB", verb);
        if (op->values->all)
                packet_add(w, "ALL", "1");
        else
                packet_add(w, "NAMES", names);
        packet_add(w, "JOB", op->id);
        if (op->values->no_wait)
                packet_add(w, "NO_WAIT", "1");
}

/* ---- meanwhile --------------------------------------------------------------------------------*/

/* Only what may be done in a handler. Then the signal does what it does to everybody. */
static void on_interrupt(int number) {
        static const char text[] = "\nfdpass: not waiting any longer. The broker goes on with it: "
                                   "'fdpass status' shows "
                                   "how far it is.\n";
        ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

        (void) n; /* nowhere to say it */
        (void) signal(number, SIG_DFL);
        (void) raise(number);
}

static void hear(void *owner, const struct assignments *event) {
        const struct operation *op = owner;

        if (!op->cli->json)
                receipt_print_progress(event, op->color, stderr);
}

static void tell_away(void *owner) {
        (void) owner;
        display_error("the broker went away; waiting %d s for the next one, which goes on with it",
                      PATIENCE_MSEC / 1000);
}

/* ---- the answer -------------------------------------------------------------------------------*/

static bool is_good(const struct answer *answer) {
        const struct text *result = assignments_get(&answer->assignments, "RESULT");

        return result && text_equal(*result, "good");
}

static int begun(const struct operation *op) {
        if (op->cli->json)
                printf("{\"schema\":1,\"job\":\"%s\"}\n", op->id);
        return STATUS_OK;
}

/* The verdict is the answer's; without its document there is less to say. */
static int finished(const struct operation *op, struct answer *answer) {
        bool good = is_good(answer);
        json_t *document = NULL;
        int r = document_take(answer, &document);

        if (r < 0)
                display_error("the receipt cannot be read (%s); the verdict is: %s", strerror(-r),
                              good ? "done" : "failed");
        else if (op->cli->json)
                (void) document_print(document, stdout); /* display_finish() tells what failed */
        else
                receipt_print(document, op->color, good ? stdout : stderr);
        json_decref(document);
        return good ? STATUS_OK : STATUS_FAILED;
}

static int ask(const struct operation *op, struct fdpass *c, const char *names) {
        const struct sigaction interrupt = {.sa_handler = on_interrupt};
        struct packet_writer request;
        struct answer *answer = NULL;
        int r, status;

        compose(op, names, &request);
        (void) fdpass_set_timeout(c, -1); /* it takes what it takes, and Ctrl-C ends the wait */
        fdpass_set_patience(c, PATIENCE_MSEC, tell_away, NULL);
        fdpass_hear_events(c, hear, (void *) op);
        if (!op->values->no_wait)
                (void) sigaction(SIGINT, &interrupt, NULL);
        r = fdpass_call(c, &request, NULL, 0, &answer);
        if (r < 0)
                status = conversation_failed_components(c, op->names, op->n_names, r);
        else
                status = op->values->no_wait ? begun(op) : finished(op, answer);
        answer_free(answer);
        return status;
}

int operate_run(struct cli *cli, int argc, char **argv) {
        struct operate_values values = {0};
        struct operation op = {.cli = cli, .values = &values};
        char names[NAMES_SIZE];
        struct fdpass *c = NULL;
        int status, r, first = command_parse(cli, &values, argc, argv, &status);

        if (first < 0)
                return status;
        op.names = argv + first;
        op.n_names = (size_t) (argc - first);
        op.color = display_color(cli->color, stderr);
        if (values.all == (op.n_names > 0))
                return command_usage(cli, values.all ? "--all and names do not go together"
                                                     : "name a component, or say --all");
        status = check_names(&op, names);
        if (status != STATUS_OK)
                return status;
        r = make_id(op.id);
        if (r < 0) {
                display_error("there are no random numbers for the job's id: %s", strerror(-r));
                return STATUS_FAILED;
        }
        status = conversation_open(cli, 0, &c);
        if (status == STATUS_OK)
                status = ask(&op, c, names);
        fdpass_close(c);
        return status;
}
