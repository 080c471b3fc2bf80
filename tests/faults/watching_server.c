/*
 * A server that follows its listener with libfdpass, as libfdpass(3) shows. Says "up" when it
 * serves, and each event; ends with its standard input.
 */
#include <fdpass.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int listener) {
        static const char answer[] = "HTTP/1.0 200 OK\r\n\r\nserved";
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        char request[4096];

        if (client < 0)
                return;
        if (recv(client, request, sizeof(request), 0) > 0)
                (void) send(client, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
        close(client);
}

static void follow(struct fdpass *broker, int *listener) {
        while (fdpass_process(broker) == 1) {
                int anew, r = fdpass_acquire(broker, "web", &anew);

                printf("%s %d\n", fdpass_event(broker), r);
                if (r == 0) {
                        close(*listener);
                        *listener = anew;
                }
        }
}

int main(void) {
        struct fdpass *broker;
        int listener;

        if (fdpass_open(&broker, NULL) < 0 || fdpass_watch(broker, "web") < 0 ||
            fdpass_acquire(broker, "web", &listener) < 0)
                return 1;
        setvbuf(stdout, NULL, _IOLBF, 0);
        printf("up\n");
        for (;;) {
                struct pollfd p[] = {{listener, POLLIN, 0},
                                     {fdpass_get_fd(broker), POLLIN, 0},
                                     {STDIN_FILENO, POLLIN, 0}};

                if (poll(p, 3, fdpass_get_timeout(broker)) < 0)
                        return 1;
                if (p[2].revents)
                        break;
                if (p[0].revents)
                        serve(listener);
                follow(broker, &listener);
        }
        close(listener);
        fdpass_close(broker);
        return 0;
}
