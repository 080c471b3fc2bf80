/* cppcheck reads no system headers: what it must know of <sys/queue.h> and of jansson. */
#define LIST_HEAD(name, type)                                                                      \
        struct name {                                                                              \
                struct type *lh_first;                                                             \
        }
#define LIST_ENTRY(type)                                                                           \
        struct {                                                                                   \
                struct type *le_next, **le_prev;                                                   \
        }
#define LIST_FIRST(head) ((head)->lh_first)
#define LIST_NEXT(item, field) ((item)->field.le_next)
#define LIST_FOREACH(item, head, field)                                                            \
        for ((item) = LIST_FIRST(head); (item); (item) = LIST_NEXT(item, field))
#define TAILQ_HEAD(name, type)                                                                     \
        struct name {                                                                              \
                struct type *tqh_first, **tqh_last;                                                \
        }
#define TAILQ_ENTRY(type)                                                                          \
        struct {                                                                                   \
                struct type *tqe_next, **tqe_prev;                                                 \
        }
#define TAILQ_FIRST(head) ((head)->tqh_first)
#define TAILQ_NEXT(item, field) ((item)->field.tqe_next)
#define TAILQ_FOREACH(item, head, field)                                                           \
        for ((item) = TAILQ_FIRST(head); (item); (item) = TAILQ_NEXT(item, field))
#define STAILQ_HEAD(name, type) TAILQ_HEAD(name, type)
#define STAILQ_ENTRY(type) TAILQ_ENTRY(type)
#define SIMPLEQ_HEAD(name, type) TAILQ_HEAD(name, type)
#define SIMPLEQ_ENTRY(type) TAILQ_ENTRY(type)
#define json_array_foreach(array, index, value)                                                    \
        for (index = 0; index < json_array_size(array) && (value = json_array_get(array, index));  \
             index++)
#define json_object_foreach(object, key, value)                                                    \
        for (key = next_key(object); key && (value = json_object_get(object, key));)
#define HASH_ITER(hh, head, item, next) for ((item) = (head); (item); (item) = (next))
