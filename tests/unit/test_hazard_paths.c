/* A program removes or takes the path of a Unix listener: what clients then see. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hazards_support.h"
#include "sockets_support.h"
#include "support.h"

START_TEST(a_path_that_a_program_unlinks_at_exit_is_there_again) {
        struct hazard f;
        int fd, socket;

        hazard_start_unix(&f);
        socket = hazard_fd(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_int_eq(hazard_fd(&f), socket);
        ck_assert_uint_eq(f.replaced, 0);
        ck_assert_uint_eq(hazard_repairs(&f), 1);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_deleted_folder_is_made_again_and_the_path_bound_anew) {
        struct hazard f;
        char links[64];

        hazard_start(&f, test_path("d/web.sock"));
        (void) snprintf(links, sizeof(links), "d/.fdpass-%u", (unsigned) geteuid());
        ck_assert_int_eq(rename(test_path(links), test_path("links")), 0);
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        ck_assert_int_eq(rmdir(test_path("d")), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 1);

        /* The folder is watched again. */
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 1);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_folder_moved_away_further_up_is_seen_at_the_next_hand_off) {
        struct hazard f;

        hazard_start(&f, test_path("d/e/web.sock"));
        ck_assert_int_eq(rename(test_path("d"), test_path("gone")), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), ENOENT); /* nobody tells us */
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_eq(hazard_reach(&f), 0);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_program_that_binds_the_path_itself_does_not_keep_it) {
        struct hazard f;
        int fd, foreign;

        hazard_start_unix(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        foreign = test_unix_listener(f.address.un.sun_path);
        hazard_turns(&f);
        close(foreign);
        ck_assert_int_eq(hazard_reach(&f), 0); /* with the other one gone it is ours that answers */
        ck_assert_ptr_nonnull(strstr(f.lines, "another program"));
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(an_adopted_unix_socket_whose_path_is_gone_is_bound_anew) {
        const char *path = test_path("web.sock");
        int given = test_unix_listener(path);
        struct hazard f;

        ck_assert_int_eq(unlink(path), 0);
        hazard_start_given(&f, path, given);
        for (unsigned i = 0; i < 10 && f.replaced == 0; i++)
                loop_run_once(f.loop, true);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 1);
        hazard_stop(&f);
}
END_TEST

SUITE("hazard_paths", {
        TEST(a_path_that_a_program_unlinks_at_exit_is_there_again);
        TEST(a_deleted_folder_is_made_again_and_the_path_bound_anew);
        TEST(a_folder_moved_away_further_up_is_seen_at_the_next_hand_off);
        TEST(a_program_that_binds_the_path_itself_does_not_keep_it);
        TEST(an_adopted_unix_socket_whose_path_is_gone_is_bound_anew);
})
