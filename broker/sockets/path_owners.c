/*
 * See path_owners.h. The snapshot is a hash by file inode; several sockets can be bound to one
 * file (hard links, a shut-down listener whose holder lives on), so each entry is a chain.
 *
 * unix_diag gives 32 bits of the file's inode and the device of its superblock. On overlayfs and
 * btrfs stat(2) shows another device, hence the second look by the name that the socket was bound
 * to.
 */
#include "sockets/path_owners.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include "cleanup.h"
#include "core/hash.h"
#include "sockets/socket_diag.h"

struct bound_file {
        uint32_t file_inode;
        uint32_t file_device;
        struct path_owner owner;
        char name[SOCKET_DIAG_NAME_MAX + 1];
        struct bound_file *next; /* of the same file inode */
        UT_hash_handle hh;       /* by file_inode; the first of a chain */
};

struct path_owners {
        bool read;
        struct bound_file *by_inode;
};

int path_owners_new(struct path_owners **ret) {
        struct path_owners *owners = calloc(1, sizeof(*owners));

        if (!owners)
                return -ENOMEM;
        *ret = owners;
        return 0;
}

static void forget_all(struct path_owners *owners) {
        struct bound_file *first, *tmp;

        HASH_ITER (hh, owners->by_inode, first, tmp) {
                HASH_DEL(owners->by_inode, first);
                while (first) {
                        struct bound_file *next = first->next;

                        free(first);
                        first = next;
                }
        }
}

struct path_owners *path_owners_free(struct path_owners *owners) {
        if (!owners)
                return NULL;
        forget_all(owners);
        free(owners);
        return NULL;
}

/*
 * An accepted connection has the address of its listener but does not keep it in use. Streams that
 * are bound and not connected may be about to listen.
 */
static bool is_owner(const struct diag_socket *found) {
        return found->has_file && (found->type == SOCK_DGRAM || found->state != TCP_ESTABLISHED);
}

static int add(void *userdata, const struct diag_socket *found) {
        struct path_owners *owners = userdata;
        struct bound_file *file, *first;

        if (!is_owner(found))
                return 0;
        file = calloc(1, sizeof(*file));
        if (!file)
                return -ENOMEM;
        file->file_inode = found->file_inode;
        file->file_device = found->file_device;
        file->owner = (struct path_owner){
                .inode = found->inode,
                .listening = found->state == TCP_LISTEN,
                .has_uid = found->has_uid,
                .uid = found->uid,
        };
        memcpy(file->name, found->name, found->name_length); /* calloc() terminated it */
        HASH_FIND(hh, owners->by_inode, &file->file_inode, sizeof(file->file_inode), first);
        if (first) {
                file->next = first->next;
                first->next = file;
                return 0;
        }
        HASH_ADD(hh, owners->by_inode, file_inode, sizeof(file->file_inode), file);
        if (!file->hh.tbl) {
                free(file);
                return -ENOMEM;
        }
        return 0;
}

/* As the kernel packs a device number inside: 12 bits of major above 20 of minor. */
static uint32_t kernel_device(dev_t device) {
        return (uint32_t) (major(device) << 20 | (minor(device) & 0xfffff));
}

static bool is_bound_to(const struct bound_file *file, const char *path, const struct stat *st) {
        struct stat named;

        if (file->file_device == kernel_device(st->st_dev) || strcmp(file->name, path) == 0)
                return true;
        return file->name[0] == '/' && lstat(file->name, &named) == 0 &&
               named.st_dev == st->st_dev && named.st_ino == st->st_ino;
}

int path_owners_find(struct path_owners *owners, const char *path, const struct stat *st,
                     struct path_owner *ret, size_t max) {
        uint32_t inode = (uint32_t) st->st_ino;
        struct bound_file *file;
        int found = 0;

        if (!owners->read) {
                int r = socket_diag_unix(add, owners);

                if (r < 0) {
                        forget_all(owners);
                        return r;
                }
                owners->read = true;
        }
        HASH_FIND(hh, owners->by_inode, &inode, sizeof(inode), file);
        for (; file; file = file->next) {
                if (!is_bound_to(file, path, st))
                        continue;
                if ((size_t) found < max)
                        ret[found] = file->owner;
                found++;
        }
        return found;
}
