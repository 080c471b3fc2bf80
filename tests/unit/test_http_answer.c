/* The status of an HTTP answer, in pieces and out of nonsense. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "components/http_answer.h"
#include "support.h"

static int parse(const char *text, unsigned *ret) {
        return http_answer_parse(text, strlen(text), ret);
}

static void expect(const char *text, int result, unsigned status) {
        unsigned found = 0;

        ck_assert_msg(parse(text, &found) == result && found == status, "'%s' gives %d and %u",
                      text, parse(text, &found), found);
}

START_TEST(the_status_is_found_as_soon_as_it_is_there) {
        static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nServer: x\r\n\r\nbody";

        for (size_t size = 0; size < sizeof(answer); size++) {
                char *part = malloc(size + 1); /* watched at its end */
                unsigned status = 0;

                memcpy(part, answer, size);
                ck_assert_int_eq(http_answer_parse(part, size, &status), size > 12);
                ck_assert_uint_eq(status, size > 12 ? 503 : 0);
                free(part);
        }
        expect("HTTP/1.0 200\r\n", 1, 200);
        expect("HTTP/1.1 204\n\n", 1, 204);
        expect("HTTP/1.1 101 Switching Protocols\r\n\r\n", 1, 101);
}
END_TEST

START_TEST(interim_answers_are_passed_over) {
        expect("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n", 1, 200);
        expect("HTTP/1.1 100 Continue\n\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 404 N\r\n", 1, 404);
        expect("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 2", 0, 0);
        expect("HTTP/1.1 103 Early Hints\r\nLink: x\r\n", 0, 0);
        expect("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nbody", -EBADMSG, 0);
}
END_TEST

START_TEST(what_is_not_http_is_told_at_its_first_wrong_byte) {
        expect("S", -EBADMSG, 0);
        expect("HTTP/2.0 200 OK\r\n", -EBADMSG, 0);
        expect("HTTP/1.1  200", -EBADMSG, 0);
        expect("HTTP/1.1 20x", -EBADMSG, 0);
        expect("HTTP/1.1 2000 OK", -EBADMSG, 0);
        expect("HTTP/1.1 099 OK", -EBADMSG, 0);
        expect("http/1.1 200 OK", -EBADMSG, 0);
        expect("\r\nHTTP/1.1 200 OK", -EBADMSG, 0);
}
END_TEST

START_TEST(interim_answers_have_an_end) {
        static const char hint[] = "HTTP/1.1 103 Early Hints\r\n\r\n";
        char *many = malloc(HTTP_ANSWER_MAX + 64);
        unsigned status = 0;
        size_t size = 0;

        while (size + sizeof(hint) - 1 <= HTTP_ANSWER_MAX) {
                memcpy(many + size, hint, sizeof(hint) - 1);
                size += sizeof(hint) - 1;
        }
        ck_assert_int_eq(http_answer_parse(many, size, &status), 0);
        memset(many + size, 'H', 64);
        ck_assert_int_eq(http_answer_parse(many, HTTP_ANSWER_MAX, &status), -EBADMSG);
        memcpy(many, "HTTP/1.1 103 Early Hints\r\n", 26);
        memset(many + 26, 'a', HTTP_ANSWER_MAX);
        ck_assert_int_eq(http_answer_parse(many, HTTP_ANSWER_MAX - 1, &status), 0);
        ck_assert_int_eq(http_answer_parse(many, HTTP_ANSWER_MAX, &status), -EBADMSG);
        free(many);
}
END_TEST

SUITE("http_answer", {
        TEST(the_status_is_found_as_soon_as_it_is_there);
        TEST(interim_answers_are_passed_over);
        TEST(what_is_not_http_is_told_at_its_first_wrong_byte);
        TEST(interim_answers_have_an_end);
})
