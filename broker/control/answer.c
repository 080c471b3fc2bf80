/*
 * Answers. The one packet writer of the control object is used for all of them: an answer is begun
 * and sent before the next request is looked at.
 */
#include "control/answer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "control/control_private.h"
#include "control/in_flight.h"
#include "control/outgoing.h"
#include "control/session.h"

#define SENTENCE_SIZE 1024

static struct packet_writer *writer(const struct request *request) {
        return &request->session->control->answer;
}

static void add_serial(const struct request *request) {
        if (request->serial.start)
                packet_add_text(writer(request), "SERIAL", request->serial);
}

struct packet_writer *answer_begin(const struct request *request) {
        struct packet_writer *w = writer(request);

        packet_begin(w);
        packet_add(w, "OK", "1");
        add_serial(request);
        return w;
}

static int send_with(const struct request *request, int fd) {
        struct packet_writer *w = writer(request);

        if (w->overflow) {
                close_fd(fd);
                answer_error(request, EMSGSIZE, "the answer does not fit into a packet");
                return -EMSGSIZE;
        }
        return outgoing_send(request->session, w->data, w->size, fd);
}

int answer_send(const struct request *request) {
        return send_with(request, -1);
}

static void begin_error(const struct request *request, int error, const char *sentence) {
        struct packet_writer *w = writer(request);
        const char *name = strerrorname_np(error);

        packet_begin(w);
        packet_add(w, "ERROR", name ? name : "EIO");
        add_serial(request);
        packet_add(w, "MESSAGE", sentence);
}

void answer_error(const struct request *request, int error, const char *format, ...) {
        char sentence[SENTENCE_SIZE];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(sentence, sizeof(sentence), format, arguments);
        va_end(arguments);
        begin_error(request, error, sentence);
        (void) outgoing_send(request->session, writer(request)->data, writer(request)->size, -1);
}

static void add_document(const struct request *request, size_t size) {
        packet_add(writer(request), "DOCUMENT", "json");
        packet_add_u64(writer(request), "SIZE", size);
}

bool answer_unsendable(const struct request *request, int error) {
        if (error == -EPERM)
                answer_error(request, EPERM,
                             "your socket takes no descriptors (SO_PASSRIGHTS), and this answer "
                             "has some: set the option to 1");
        else if (error == -ETOOMANYREFS)
                answer_error(request, ETOOMANYREFS,
                             "too many descriptors of the broker are on their way to programs that "
                             "do not read: try again");
        else
                return false;
        return true;
}

int answer_send_document(const struct request *request, int memfd, size_t size) {
        int r;

        add_document(request, size);
        r = send_with(request, memfd);
        if (r == 0)
                request->session->document_outstanding = true;
        else
                (void) answer_unsendable(request, r);
        return r;
}

void answer_error_document(const struct request *request, int error, const char *message, int memfd,
                           size_t size) {
        begin_error(request, error, message);
        (void) answer_send_document(request, memfd, size);
}

bool answer_is_outstanding(const struct request *request) {
        struct session *s = request->session;

        if (!s->document_outstanding || in_flight_settle(s))
                return false;
        answer_error(request, EBUSY,
                     "the answer before this one brought a document: read that answer first");
        return true;
}
