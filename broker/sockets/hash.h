/*
 * uthash(3) without its exit() when there is no memory. After HASH_ADD…() look at the element's
 * hh.tbl: NULL means that it was not added.
 */
#ifndef SOCKETS_HASH_H
#define SOCKETS_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#endif
