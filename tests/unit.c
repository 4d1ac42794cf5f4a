#include "tests/unit.h"

#include <CUnit/Basic.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int skipped;
static bool skip_running;
static const char *running = "";

static bool report(bool ok, const char *file, int line, const char *message)
{
    CU_assertImplementation(ok ? CU_TRUE : CU_FALSE, (unsigned)line, message, file, running,
                            CU_FALSE);
    if (!ok)
        printf("%s:%d: %s: %s\n", file, line, running, message);
    return ok;
}

bool unit_true(bool ok, const char *what, const char *file, int line)
{
    return report(ok, file, line, what);
}

bool unit_eq(int64_t got, int64_t want, const char *what, const char *file, int line)
{
    char m[512];
    snprintf(m, sizeof m, "%s is %lld, expected %lld", what, (long long)got, (long long)want);
    return report(got == want, file, line, m);
}

bool unit_near(double got, double want, double tolerance, const char *what, const char *file,
               int line)
{
    char m[512];
    snprintf(m, sizeof m, "%s is %.17g, expected %.17g within %g", what, got, want, tolerance);
    return report(fabs(got - want) <= tolerance, file, line, m);
}

bool unit_str(const char *got, const char *want, const char *what, const char *file, int line)
{
    char m[2048];
    snprintf(m, sizeof m, "%s is \"%s\", expected \"%s\"", what, got ? got : "(null)", want);
    return report(got && !strcmp(got, want), file, line, m);
}

bool unit_has(const char *got, const char *want, const char *what, const char *file, int line)
{
    char m[2048];
    snprintf(m, sizeof m, "%s is \"%s\", expected it to contain \"%s\"", what, got ? got : "(null)",
             want);
    return report(got && strstr(got, want), file, line, m);
}

void unit_skip(const char *reason)
{
    printf("skipped: %s: %s\n", running, reason);
    skip_running = true;
}

static void on_start(const CU_pTest test, const CU_pSuite suite)
{
    (void)suite;
    running = test->pName;
    skip_running = false;
}

static void on_done(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord failures)
{
    (void)suite;
    if (skip_running && !failures)
        skipped++;
    if (failures)
        printf("FAILED: %s\n", test->pName);
}

int unit_main(int argc, char **argv, const char *suite, const struct unit_test *tests)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite s = CU_add_suite(suite, NULL, NULL);
    unsigned n = 0;
    for (const struct unit_test *t = tests; t->name; t++) {
        if (argc > 1 && strcmp(argv[1], t->name))
            continue;
        if (!CU_add_test(s, t->name, t->run))
            return 2;
        n++;
    }
    if (!n) {
        fprintf(stderr, "%s: no test named '%s'\n", suite, argc > 1 ? argv[1] : "");
        return 2;
    }
    CU_set_test_start_handler(on_start);
    CU_set_test_complete_handler(on_done);
    CU_run_all_tests();
    unsigned failed = CU_get_number_of_tests_failed();
    printf("%s: %u passed, %u failed, %d skipped\n", suite, n - failed - (unsigned)skipped, failed,
           skipped);
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
