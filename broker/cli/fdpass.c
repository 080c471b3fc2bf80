/*
 * fdpass, the command: finds the command in a table and runs it. What is printed as help comes from
 * the same tables. It speaks the control protocol like any other client and knows nothing of the
 * broker's inside but its configuration reader (fdpass check).
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/command.h"
#include "cli/descriptors.h"
#include "cli/exit_status.h"
#include "config/suggestion.h"

#define COMPONENTS "COMPONENT... | --all"
#define GOES_ON                                                                                    \
        "Exit status 1 when a component did not do what was asked: the receipt says why.\n"        \
        "Ctrl-C ends the waiting only; the broker goes on with it."

static const struct command commands[] = {
        {"status", "[NAME...]", "show components, listeners, their queues and who holds them",
         "With names also who holds each of them, since when, and what they say of themselves.",
         status_options, true, status_run},
        {"exec", "NAME... -- COMMAND [ARG...]", "run a program with these listeners as LISTEN_FDS",
         "The program becomes this process (no fork). It finds the sockets from descriptor 3 up,\n"
         "their number in LISTEN_FDS and their names in LISTEN_FDNAMES.\n"
         "In a shell script write 'exec fdpass exec ...'; where the command is itself a script\n"
         "it must 'exec' the server, because LISTEN_PID names this process.\n"
         "\n"
         "Exit status: that of COMMAND; 125 fdpass failed, 126 COMMAND cannot be run,\n"
         "127 COMMAND was not found.",
         exec_options, false, exec_run},
        {"start", COMPONENTS, "start components, and what they require, in order",
         "Comes back when each one serves, or has failed to.\n\n" GOES_ON, operate_options, true,
         operate_run},
        {"stop", COMPONENTS, "stop components; their listeners stay, connections wait",
         "Comes back when what they accepted is finished, or TimeoutStopSec= is over.\n\n" GOES_ON,
         operate_options, true, operate_run},
        {"restart", COMPONENTS, "replace each component by its next generation",
         "The next one serves before the present one is told to go (Handover=overlap). If it\n"
         "does not come to serve, the present one is kept, and this fails.\n\n" GOES_ON,
         operate_options, true, operate_run},
        {"reload", COMPONENTS, "have components read their configuration again (ExecReload=)",
         GOES_ON, operate_options, true, operate_run},
        {"pause", COMPONENTS, "stop components until resume; connections wait in the queue",
         GOES_ON, operate_options, true, operate_run},
        {"resume", COMPONENTS, "start paused components again", GOES_ON, operate_options, true,
         operate_run},
        {"logs", "COMPONENT", "show the last lines that a component wrote",
         "Generation and time stand before each line; '!' marks what came from standard error.",
         logs_options, true, logs_run},
        {"check", "[PATH]", "check a configuration and print it resolved; touches nothing",
         "PATH is a file or a folder; by default where a broker of this user looks.", check_options,
         true, check_run},
        {"apply", "", "make the broker read its configuration again, all of it or nothing",
         "Listeners that did not change are not touched.", apply_options, true, apply_run},
        {"store", "list | drop NAME", "show or drop what programs left for their next process",
         "Who drops a connection that waits there for a program hangs up on its client.",
         store_options, true, store_run},
        {"upgrade", "[PATH]", "replace the broker's program; nothing is closed, the pid stays",
         "PATH is an fdpassd; by default the path from which the broker was started.\n"
         "It is tried first with what the broker knows. If it cannot use that, or dies before it\n"
         "is ready, the old one carries on and this fails.",
         upgrade_options, true, upgrade_run},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* Apart, because not every command can. */
static const struct option_spec json_options[] = {
        {"json", 0, OPTION_FLAG, offsetof(struct cli, json), NULL, "print JSON"}, {0}};

static const struct option_spec global_options[] = {
        {"socket", 0, OPTION_TEXT, offsetof(struct cli, socket), "PATH",
         "the broker's control socket"},
        {"color", 0, OPTION_CHOICE, offsetof(struct cli, color), "auto|always|never",
         "colour; auto: on a terminal, without NO_COLOR"},
        {"help", 'h', OPTION_FLAG, offsetof(struct cli, help), NULL, "print help"},
        {"version", 0, OPTION_FLAG, offsetof(struct cli, version), NULL, "print the version"},
        {0}};

static void print_commands(FILE *stream) {
        fprintf(stream, "Commands:\n");
        for (size_t i = 0; i < N_COMMANDS; i++) {
                char line[64];
                snprintf(line, sizeof(line), "%s %s", commands[i].name, commands[i].arguments);
                fprintf(stream, "  %-33s %s\n", line, commands[i].summary);
        }
}

static void print_overview(FILE *stream) {
        fprintf(stream,
                "fdpass - borrow listening sockets from the broker, so that restarts never rebind\n"
                "\n"
                "Usage: fdpass [OPTION...] COMMAND ...\n"
                "\n");
        print_commands(stream);
}

static void print_help(void) {
        print_overview(stdout);
        printf("\nOptions of all commands:\n");
        options_help(json_options, stdout);
        options_help(global_options, stdout);
        printf("\n"
               "Exit status: 0 ok, 1 failed, 2 wrong usage, 3 configuration wrong, 4 no broker\n"
               "reachable, 5 not permitted, 6 no such listener or component; exec: see\n"
               "'fdpass exec --help'.\n"
               "\n"
               "The broker is looked for at --socket, $FDPASS_SOCKET, /run/fdpass/broker.sock for\n"
               "root, else $XDG_RUNTIME_DIR/fdpass/broker.sock, /tmp/fdpass-UID/broker.sock, and\n"
               "/run/fdpass/broker.sock. More: 'fdpass COMMAND --help', fdpass(1).\n");
}

static void print_command_help(const struct command *command) {
        printf("Usage: fdpass %s [OPTION...] %s\n\n%s\n", command->name, command->arguments,
               command->summary);
        if (command->details)
                printf("\n%s\n", command->details);
        printf("\nOptions:\n");
        options_help(command->options, stdout);
        if (command->has_json)
                options_help(json_options, stdout);
        options_help(global_options, stdout);
}

int command_usage(const struct cli *cli, const char *format, ...) {
        _cleanup_free_ char *text = NULL, *shown = NULL;
        va_list arguments;

        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        shown = text ? display_escape(text) : NULL;
        fprintf(stderr, "fdpass %s: %s.\nUsage: fdpass %s [OPTION...] %s\n", cli->command->name,
                shown ? shown : "out of memory", cli->command->name, cli->command->arguments);
        return STATUS_USAGE;
}

int command_parse(struct cli *cli, void *values, int argc, char **argv, int *ret_status) {
        const struct option_group groups[] = {
                {cli->command->options, values}, {global_options, cli}, {json_options, cli}};
        char program[32];
        int first;

        snprintf(program, sizeof(program), "fdpass %s", cli->command->name);
        first = options_parse(groups, cli->command->has_json ? 3 : 2, false, program, argc, argv,
                              stderr);
        *ret_status = first < 0 ? STATUS_USAGE : STATUS_OK;
        if (first < 0)
                return -1;
        if (cli->help) {
                print_command_help(cli->command);
                return -1;
        }
        if (cli->version) {
                puts("fdpass " FDPASS_VERSION);
                return -1;
        }
        if (cli->json && !cli->command->has_json) {
                *ret_status = command_usage(cli, "there is nothing that --json could print");
                return -1;
        }
        return first;
}

/* What others call it. */
static const char *said_elsewhere(const char *name) {
        static const struct {
                const char *word, *command;
        } words[] = {{"list", "status"},  {"ls", "status"},    {"ps", "status"},
                     {"up", "start"},     {"down", "stop"},    {"kill", "stop"},
                     {"journal", "logs"}, {"verify", "check"}, {"daemon-reload", "apply"}};

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (strcmp(words[i].word, name) == 0)
                        return words[i].command;
        return NULL;
}

static const struct command *find_command(const char *name) {
        const char *nearest = NULL, *elsewhere = said_elsewhere(name);

        for (size_t i = 0; i < N_COMMANDS; i++) {
                if (strcmp(commands[i].name, name) == 0)
                        return &commands[i];
                nearest = suggestion_better(name, nearest, commands[i].name);
        }
        if (elsewhere)
                nearest = elsewhere;
        if (nearest)
                display_error("there is no command '%s'. Did you mean '%s'?", name, nearest);
        else
                display_error("there is no command '%s'. 'fdpass --help' shows those there are.",
                              name);
        return NULL;
}

/* "help", and "help COMMAND". */
static int help(int argc, char **argv) {
        const struct command *command = NULL;

        if (argc > 2) {
                display_error("help is for one command: 'fdpass help %s'", argv[1]);
                return STATUS_USAGE;
        }
        if (argc == 1) {
                print_help();
                return STATUS_OK;
        }
        command = find_command(argv[1]);
        if (!command)
                return STATUS_USAGE;
        print_command_help(command);
        return STATUS_OK;
}

/* Options before the command, the command, and then its own. */
static int run(struct cli *cli, int argc, char **argv) {
        const struct option_group groups[] = {{global_options, cli}, {json_options, cli}};
        int first = options_parse(groups, 2, true, "fdpass", argc, argv, stderr);

        if (first < 0)
                return STATUS_USAGE;
        if (cli->help || cli->version) {
                if (cli->version)
                        puts("fdpass " FDPASS_VERSION);
                else
                        print_help();
                return STATUS_OK;
        }
        if (first == argc) {
                print_overview(stdout);
                puts("\n'fdpass --help' says more, 'fdpass status' is a good beginning.");
                return STATUS_USAGE;
        }
        if (strcmp(argv[first], "help") == 0)
                return help(argc - first, argv + first);
        cli->command = find_command(argv[first]);
        if (!cli->command)
                return STATUS_USAGE;
        /* exec becomes another program, which must find the dispositions as we found them. */
        if (cli->command->run != exec_run)
                (void) signal(SIGPIPE, SIG_IGN);
        return cli->command->run(cli, argc - first, argv + first);
}

int main(int argc, char **argv) {
        struct cli cli = {0};

        descriptors_reserve_standard();
        (void) setlocale(LC_ALL, "");
        return display_finish(run(&cli, argc, argv));
}
