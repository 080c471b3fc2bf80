/* Put descriptors where the systemd activation protocol wants them: from 3 up, without a gap. */
#ifndef CLI_DESCRIPTORS_H
#define CLI_DESCRIPTORS_H

#include <stddef.h>

#define DESCRIPTORS_START 3

/*
 * Make 0, 1 and 2 taken, so that no descriptor that we open becomes a stranger's stdout. What was
 * closed is closed again for the program that we become (close-on-exec), and until then reading
 * and writing there fail with EBADF as on a closed descriptor.
 */
void descriptors_reserve_standard(void);

/*
 * Move fds[i], all owned and above 2, to DESCRIPTORS_START + i and clear close-on-exec there and
 * only there. What else was open in that range is replaced; *ret_replaced is how many of those
 * would have stayed open through exec.
 *
 * Returns 0, or -EMFILE and the like: some have then been moved, fds says where each is.
 */
int descriptors_place(int *fds, size_t count, size_t *ret_replaced);

#endif
