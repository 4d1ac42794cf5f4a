#ifdef __linux__
#define _GNU_SOURCE /* pthread_setaffinity_np */
#endif

#include "sim/exec/pin.h"

#include <errno.h>
#ifdef __linux__
#include <pthread.h>
#include <sched.h>

int pin_thread(int32_t cpu)
{
    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return EINVAL;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

#else

int pin_thread(int32_t cpu)
{
    (void)cpu;
    return ENOTSUP;
}

#endif
