/* Shifts the clock of all programs that load it by the seconds in the file CLOCK_FILE (8 bytes), also while they run.

Waits until a time of the clock last as long as without it. Build: gcc -shared -fPIC -DCLOCK_FILE='"/tmp/clock"' clock.c */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const long none;
static const volatile long *shift = &none;

__attribute__((constructor)) static void open_clock(void) {
    int file = open(CLOCK_FILE, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) shift = page;
    close(file);
}

static long call(long number, long a, long b, long c, long d, long e, long f) {
    static long (*real)(long, ...);
    if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return real(number, a, b, c, d, e, f);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    long status = call(SYS_clock_gettime, id, (long)now, 0, 0, 0, 0);
    if (!status && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return (int)status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    long status = call(SYS_gettimeofday, (long)now, (long)zone, 0, 0, 0, 0);
    if (!status) now->tv_sec += *shift;
    return (int)status;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

#define UNSHIFTED(until) (&(struct timespec){(until)->tv_sec - *shift, (until)->tv_nsec})
#define REAL(name) (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    struct timespec now; /* a condition may wait for the monotonic clock, whose times are much smaller */
    call(SYS_clock_gettime, CLOCK_REALTIME, (long)&now, 0, 0, 0, 0);
    int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *) =
        dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    return real(cond, mutex, until->tv_sec < now.tv_sec / 2 ? until : UNSHIFTED(until));
}

int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until) {
    return (REAL(sem_timedwait))(sem, UNSHIFTED(until));
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    return (REAL(pthread_mutex_timedlock))(mutex, UNSHIFTED(until));
}

long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    struct timespec until; /* it must outlive the condition */
    if (number == SYS_futex && (b & FUTEX_CLOCK_REALTIME) && d) {
        until = *UNSHIFTED((struct timespec *)d);
        d = (long)&until;
    }
    return call(number, a, b, c, d, e, f);
}
