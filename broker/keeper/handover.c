/* The list of what passes an exec in place. See handover.h. */
#include "keeper/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

/* 10,000 lines of an id and a number are far below; a broken length must not become a malloc(). */
#define LIST_SIZE_MAX (64 << 20)

struct handover {
        FILE *stream;
        char *text;
        size_t size;
        int list_fd;
};

int handover_new(struct handover **ret) {
        struct handover *h = calloc(1, sizeof(*h));

        if (!h)
                return -ENOMEM;
        h->list_fd = -1;
        h->stream = open_memstream(&h->text, &h->size);
        if (!h->stream) {
                free(h);
                return -ENOMEM;
        }
        *ret = h;
        return 0;
}

int handover_add(struct handover *h, const char *name, int fd) {
        return fprintf(h->stream, "%d %s\n", fd, name) < 0 ? -ENOMEM : 0;
}

/*
 * Walk over the lines, which it cuts into strings. With do_line() failing it goes on, so that no
 * descriptor is left without its flag; the first error is returned.
 */
static int each_line(char *text, int (*do_line)(void *owner, int fd, const char *name),
                     void *owner) {
        int error = 0;

        for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
                char *name;
                long fd = strtol(line, &name, 10);
                int r = -EBADMSG;

                *end = '\0';
                if (*name == ' ' && fd > STDERR_FILENO && fd < INT_MAX)
                        r = do_line(owner, (int) fd, name + 1);
                *end = '\n';
                if (r < 0 && error == 0)
                        error = r;
        }
        return error;
}

static int pass_line(void *owner, int fd, const char *name) {
        return fcntl(fd, F_SETFD, 0) < 0 ? -errno : 0;
}

static int keep_line(void *owner, int fd, const char *name) {
        return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

static int take_line(void *inherited, int fd, const char *name) {
        return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : inherited_put_fd(inherited, name, fd);
}

static int write_list(const struct handover *h) {
        for (size_t done = 0; done < h->size;) {
                ssize_t n = write(h->list_fd, h->text + done, h->size - done);

                if (n < 0)
                        return -errno;
                done += (size_t) n;
        }
        return 0;
}

int handover_pass(struct handover *h) {
        int r = 0;

        if (fflush(h->stream) != 0)
                return -ENOMEM;
        h->list_fd = memfd_create("fdpass-handover", MFD_CLOEXEC);
        if (h->list_fd < 0)
                return -errno;
        r = write_list(h);
        if (r == 0)
                r = each_line(h->text, pass_line, NULL);
        if (r < 0) {
                handover_undo(h);
                return r;
        }
        handover_pass_fd(HANDOVER_ENV, h->list_fd);
        return 0;
}

void handover_undo(struct handover *h) {
        (void) unsetenv(HANDOVER_ENV);
        (void) each_line(h->text, keep_line, NULL);
        h->list_fd = close_fd(h->list_fd);
}

struct handover *handover_free(struct handover *h) {
        if (h) {
                (void) fclose(h->stream);
                free(h->text);
                close_fd(h->list_fd);
                free(h);
        }
        return NULL;
}

int handover_take(struct inherited *inherited) {
        _cleanup_close_ int fd = handover_take_fd(HANDOVER_ENV);
        _cleanup_free_ char *text = NULL;
        struct stat st;
        int r;

        if (fd < 0)
                return 0;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size > LIST_SIZE_MAX)
                return -EBADMSG;
        text = calloc(1, (size_t) st.st_size + 1);
        if (!text)
                return -ENOMEM;
        if (pread(fd, text, (size_t) st.st_size, 0) != st.st_size)
                return -EBADMSG;
        r = each_line(text, take_line, inherited);
        return r < 0 ? r : 1;
}

void handover_pass_fd(const char *variable, int fd) {
        char number[16];

        (void) fcntl(fd, F_SETFD, 0);
        (void) snprintf(number, sizeof(number), "%d", fd);
        (void) setenv(variable, number, 1);
}

int handover_take_fd(const char *variable) {
        const char *number = getenv(variable);
        int fd = number ? atoi(number) : -1;

        (void) unsetenv(variable);
        if (fd <= STDERR_FILENO || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -1;
        return fd;
}
