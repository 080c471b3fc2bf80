#include "operation_support.h"

#include "components/operation.h"
#include "support.h"

static void write_gate(void) {
        test_write("gate.sh",
                   "cd \"${0%/*}\"\n"
                   "g=$FDPASS_GENERATION\n"
                   "until test -e go$g -o -e go$g.$FDPASS_INSTANCE -o -e go -o ! -e gate.sh; do\n"
                   "        test -e bad$g && read name </proc/$MAINPID/comm &&\n"
                   "                test $name = sleep && kill -KILL $MAINPID\n"
                   "        sleep 0.01\n"
                   "done\n");
}

void operation_open(struct scene *l, const char *more) {
        life_begin(l, false);
        write_gate();
        life_apply(l,
                   "[Component a]\nStart=manual\nExecStart=sh -c 'echo I am $$FDPASS_GENERATION; "
                   "exec sleep 60'\nExecStartPost=sh %s\n%s",
                   test_path("gate.sh"), more);
}

void operation_run(struct scene *l, const char *more) {
        struct job *job;

        operation_open(l, more);
        test_write("go1", "");
        job = life_begin_job(l, JOB_START, "", "a");
        ck_assert_int_eq(life_receipt(l, job, "a")->verdict, VERDICT_SERVES);
        ck_assert(operation_serves(l, 1));
}

bool operation_serves(const struct scene *l, uint64_t generation) {
        const struct instance *i = life_instance(l, "a", generation);

        return i && i->life == LIFE_READY;
}
