/* What is understood of a notification, and what is tolerated. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "components/notify_packet.h"
#include "support.h"

static struct notify_packet packet;
static char ignored[512];

static int parse_bytes(const char *data, size_t size) {
        const char *what = NULL;
        size_t length = 0;
        int r = notify_packet_parse(data, size, &packet, &what, &length);

        memset(ignored, 0, sizeof(ignored));
        if (r == 0 && what)
                memcpy(ignored, what, length);
        return r;
}

static void parse(const char *text) {
        ck_assert_int_eq(parse_bytes(text, strlen(text)), 0);
}

START_TEST(every_key_says_what_it_means) {
        parse("READY=1\nRELOADING=1\nWATCHDOG=1\nSTATUS=all is well\n"
              "EXTEND_TIMEOUT_USEC=1500000\nWATCHDOG_USEC=2000000\nMAINPID=4711\nFDSTORE=1\n"
              "FDNAME=conn.1\nFDPOLL=0\nERRNO=2\nSTOPPING=1\nEXIT_STATUS=255\n");
        ck_assert_uint_eq(packet.flags, NOTIFY_READY | NOTIFY_RELOADING | NOTIFY_WATCHDOG |
                                                NOTIFY_HAS_STATUS | NOTIFY_HAS_EXTEND |
                                                NOTIFY_HAS_WATCHDOG_USEC | NOTIFY_HAS_MAIN_PID |
                                                NOTIFY_STORE | NOTIFY_STOPPING |
                                                NOTIFY_HAS_EXIT_STATUS | NOTIFY_UNPOLLED);
        ck_assert_str_eq(packet.status, "all is well");
        ck_assert_uint_eq(packet.extend_usec, 1500000);
        ck_assert_uint_eq(packet.watchdog_usec, 2000000);
        ck_assert_int_eq(packet.main_pid, 4711);
        ck_assert_str_eq(packet.fd_name, "conn.1");
        ck_assert_int_eq(packet.error, 2);
        ck_assert_int_eq(packet.exit_status, 255);
        ck_assert_str_eq(ignored, "");

        parse("WATCHDOG=trigger\nFDSTOREREMOVE=1\nBARRIER=1");
        ck_assert_uint_eq(packet.flags, NOTIFY_TRIGGER | NOTIFY_REMOVE);
        ck_assert_str_eq(packet.fd_name, "stored");
        ck_assert_int_eq(packet.error, 0);

        parse("STOPPING=0\nEXIT_STATUS=0");
        ck_assert_uint_eq(packet.flags, NOTIFY_HAS_EXIT_STATUS);
        ck_assert_int_eq(packet.exit_status, 0);
}
END_TEST

START_TEST(what_is_unknown_does_not_spoil_the_rest) {
        parse("\n\nMONOTONIC_USEC=5\nINVOCATION_ID=1\nNOTIFYACCESS=all\nlower=case\nno "
              "assignment\n=\nX-OWN=1\n\nREADY=1");
        ck_assert_uint_eq(packet.flags, NOTIFY_READY);
        ck_assert_str_eq(ignored, "");
        parse("\n");
        ck_assert_uint_eq(packet.flags, 0);
}
END_TEST

START_TEST(the_first_of_a_repeated_key_counts) {
        parse("STATUS=one\nSTATUS=two\nREADY=0\nREADY=1\n");
        ck_assert_str_eq(packet.status, "one");
        ck_assert_uint_eq(packet.flags, NOTIFY_HAS_STATUS);
}
END_TEST

START_TEST(a_wrong_value_counts_as_not_said_and_is_named) {
        static const char *const wrong[] = {
                "MAINPID=0",
                "MAINPID=-1",
                "MAINPID=2147483648",
                "MAINPID=",
                "ERRNO=0",
                "ERRNO=4096",
                "EXIT_STATUS=256",
                "EXIT_STATUS=-1",
                "EXIT_STATUS=",
                "FDPOLL=maybe",
                "WATCHDOG=2",
                "WATCHDOG_USEC= 1",
                "FDNAME=a:b",
                "EXTEND_TIMEOUT_USEC=18446744073709551616",
                "FDNAME=",
        };

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                char text[128];

                (void) snprintf(text, sizeof(text), "READY=1\n%s\nSTATUS=on", wrong[i]);
                parse(text);
                ck_assert_str_eq(ignored, wrong[i]);
                ck_assert_uint_eq(packet.flags, NOTIFY_READY | NOTIFY_HAS_STATUS);
                ck_assert_str_eq(packet.fd_name, "stored");
                ck_assert_int_eq(packet.error, 0);
        }
        parse("MAINPID=2147483647\nERRNO=4095");
        ck_assert_str_eq(ignored, "");
}
END_TEST

START_TEST(a_nul_or_nothing_is_no_packet) {
        ck_assert_int_eq(parse_bytes("READY=1\0", 8), -EBADMSG);
        ck_assert_int_eq(parse_bytes("", 0), -EBADMSG);
}
END_TEST

START_TEST(a_status_is_cut_between_characters_and_has_no_control_characters) {
        char text[NOTIFY_STATUS_SIZE + 64] = "STATUS=";
        size_t fill = NOTIFY_STATUS_SIZE - 2;

        parse("STATUS=a\x1b[31mb\tc\x7f");
        ck_assert_str_eq(packet.status, "a?[31mb?c?");
        memset(text + 7, 'x', fill);
        strcpy(text + 7 + fill, "\xc3\xa4\xc3\xa4");
        parse(text);
        ck_assert_uint_eq(strlen(packet.status), fill);
        text[6 + fill] = '\0'; /* one less: the first of them fits */
        strcat(text, "\xc3\xa4\xc3\xa4");
        parse(text);
        ck_assert_uint_eq(strlen(packet.status), fill + 1);
}
END_TEST

START_TEST(a_name_may_have_255_bytes) {
        char text[300] = "FDNAME=";

        memset(text + 7, 'n', 255);
        parse(text);
        ck_assert_uint_eq(strlen(packet.fd_name), 255);
        text[7 + 255] = 'n';
        parse(text);
        ck_assert_str_eq(packet.fd_name, "stored");
}
END_TEST

SUITE("notify_packet", {
        TEST(every_key_says_what_it_means);
        TEST(what_is_unknown_does_not_spoil_the_rest);
        TEST(the_first_of_a_repeated_key_counts);
        TEST(a_wrong_value_counts_as_not_said_and_is_named);
        TEST(a_nul_or_nothing_is_no_packet);
        TEST(a_status_is_cut_between_characters_and_has_no_control_characters);
        TEST(a_name_may_have_255_bytes);
})
