/*
 * Preloaded into user-mode Linux, mends two of its faults.
 *
 * 1. Kernels before 6.13 do not run on processors with a large register state.
 *
 * To switch to a guest process the kernel writes the process's extended registers with
 * PTRACE_SETREGSET(NT_X86_XSTATE) from a buffer whose size was fixed when it was built. Where the
 * processor has more state than that (AMX alone adds 8 KiB) the machine's kernel refuses the short
 * buffer with EFAULT, and the guest dies at its first process: "ptrace set fp regs failed, errno = 14".
 *
 * This ptrace() completes the short buffer with what the process already has.
 *
 * 2. A timer interrupt gets lost, and with it all that come after: the kernel sets its timer for one shot, in the
 * handler of the one before. unblock_signals() (arch/um/os-Linux/signal.c) drops a SIGALRM that came while signals were
 * off if the handler of an earlier one is on the stack, as it is in softirqs. From then on nothing takes the processor
 * away from a process that does not wait: a Go program that spins until its other thread goes on stops the guest.
 *
 * This timer_settime() lets a shot repeat until the kernel sets the next. One too many does no harm: the kernel sees that
 * nothing is due.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PEEK_FIRST = 1, PEEK_LAST = 3, GET_REGISTER_SET = 0x4204, SET_REGISTER_SET = 0x4205 };

static long kernel_ptrace(int request, pid_t pid, void *address, void *data)
{
    return syscall(SYS_ptrace, request, pid, address, data);
}

/* Writes `given` over the start of the state that `pid` has, and sets the whole. */
static long set_extended_state(pid_t pid, const struct iovec *given)
{
    static char state[1 << 16] __attribute__((aligned(64)));
    static size_t state_size; /* 0 until the processor's size is known */
    void *kind = (void *)(long)NT_X86_XSTATE;
    struct iovec whole = { state, sizeof state };

    if (state_size != 0 && given->iov_len >= state_size)
        return kernel_ptrace(SET_REGISTER_SET, pid, kind, (void *)given);
    if (kernel_ptrace(GET_REGISTER_SET, pid, kind, &whole) != 0)
        return kernel_ptrace(SET_REGISTER_SET, pid, kind, (void *)given);
    state_size = whole.iov_len;
    memcpy(state, given->iov_base, given->iov_len < state_size ? given->iov_len : state_size);
    return kernel_ptrace(SET_REGISTER_SET, pid, kind, &whole);
}

long ptrace(int request, ...)
{
    va_list rest;
    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);

    if (request == SET_REGISTER_SET && (long)address == NT_X86_XSTATE)
        return set_extended_state(pid, data);
    if (request >= PEEK_FIRST && request <= PEEK_LAST) {
        /* The C library returns the word itself; the system call stores it where `data` points. */
        long word;
        if (kernel_ptrace(request, pid, address, &word) < 0)
            return -1;
        errno = 0;
        return word;
    }
    return kernel_ptrace(request, pid, address, data);
}

typedef int set_timer(timer_t, int, const struct itimerspec *, struct itimerspec *);

int timer_settime(timer_t timer, int flags, const struct itimerspec *given, struct itimerspec *before)
{
    static set_timer *library_timer_settime;
    struct itimerspec repeated = *given;
    int is_set = given->it_value.tv_sec != 0 || given->it_value.tv_nsec != 0;
    int repeats = given->it_interval.tv_sec != 0 || given->it_interval.tv_nsec != 0;

    if (library_timer_settime == NULL)
        library_timer_settime = (set_timer *)dlsym(RTLD_NEXT, "timer_settime");
    if (is_set && !repeats)
        repeated.it_interval.tv_nsec = 50 * 1000 * 1000;
    return library_timer_settime(timer, flags, &repeated, before);
}
