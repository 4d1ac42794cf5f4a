#define _DEFAULT_SOURCE /* madvise */
/* A step of one row reads all weights, 80 MB of SmolLM2-135M: 20,000 pages of 4 kB, ten times what
 * a CPU's table of translations holds, and in a virtual machine each miss walks two tables. Some
 * systems (Debian's kernel) give huge pages to every large allocation, others to those that ask for
 * them; llama.cpp does not ask. The linker calls this in place of its allocator (--wrap,
 * CMakeLists.txt). `tandem bench pages` measures what it brings. */
#include "hwmodels/real/huge_pages.h"

#include <stdatomic.h>
#include <stdio.h>

static atomic_bool asks = true;

void huge_pages_ask(bool ask)
{
    atomic_store(&asks, ask);
}

#ifdef TANDEM_LLAMA_PAGES
#include <sys/mman.h>
#include <unistd.h>

void *__real_ggml_aligned_malloc(size_t size);
void *__wrap_ggml_aligned_malloc(size_t size);

enum { HUGE = 2 << 20 }; /* of x86-64 and of most other systems */

/* Refused is as good as granted: the memory is the same. */
void *__wrap_ggml_aligned_malloc(size_t size)
{
    char *p = __real_ggml_aligned_malloc(size);
    if (p && size >= 2 * HUGE) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = (page - (uintptr_t)p % page) % page;
        madvise(p + skip, (size - skip) / page * page,
                atomic_load(&asks) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    }
    return p;
}
#endif

int64_t huge_pages_bytes(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    char line[128];
    long long kb = -1;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "AnonHugePages: %lld kB", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb < 0 ? -1 : (int64_t)kb * 1024;
}
