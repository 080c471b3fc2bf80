/* The component of speaker_support.h. */
#include "speaker_support.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support.h"

void speaker_say(const char *text) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        const char *path = getenv("NOTIFY_SOCKET");
        int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        char packet[256];

        (void) snprintf(un.sun_path, sizeof(un.sun_path), "%s", path ? path : "");
        if (path && path[0] == '@')
                un.sun_path[0] = '\0';
        (void) snprintf(packet, sizeof(packet), "%s", text);
        for (char *p = packet; *p; p++)
                if (*p == '+')
                        *p = '\n';
        (void) !sendto(s, packet, strlen(packet), 0, (struct sockaddr *) &un,
                       path && path[0] == '@'
                               ? (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path))
                               : sizeof(un));
        close(s);
}

int speaker_play(char **words) {
        char mypid[32];

        (void) signal(SIGALRM, SIG_DFL);
        (void) alarm(60);
        for (; *words; words++) {
                if (**words == '@')
                        while (access(*words + 1, F_OK) < 0)
                                (void) usleep(2000);
                else if (**words == ':')
                        _exit(**words - ':' + (*words)[1] - '0');
                else if (strcmp(*words, "SELF") == 0) {
                        (void) snprintf(mypid, sizeof(mypid), "MAINPID=%d", (int) getpid());
                        speaker_say(mypid);
                } else
                        speaker_say(*words);
        }
        for (;;)
                (void) pause();
}

const char *speaker(void) {
        static char text[512];
        ssize_t n = readlink("/proc/self/exe", text, sizeof(text) - 16);

        ck_assert_int_gt(n, 0);
        (void) strcpy(text + n, " play");
        return text;
}

struct instance *speaker_start(struct scene *l, const char *format, ...) {
        char text[4096];
        va_list arguments;
        struct instance *i;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        life_begin(l, false);
        life_apply(l, "[Component a]\nStart=manual\n%s\n", text);
        i = life_make(l, "a");
        instance_begin(i);
        return i;
}

void speaker_until(struct scene *l, const struct instance *i, enum life life) {
        LIFE_UNTIL(l, l->n_ended > 0 || i->life == life);
        ck_assert_msg(l->n_ended == 0, "it ended: %s\n%s", l->ended.reason, l->said);
}

const struct instance *speaker_until_ended(struct scene *l) {
        LIFE_UNTIL(l, l->n_ended > 0);
        return &l->ended;
}
