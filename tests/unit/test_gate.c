/* Gates compare the confidence bound, not the value. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "opt/report.h"

static void test_gate__verdicts(void **state) {
    (void)state;
    static const struct {
        double limit;
        bool at_least;
        double value, low, high;
        opt_verdict verdict;
    } rows[] = {
        {0.05, false, 0.03, 0.02, 0.04, OPT_VERDICT_PASS},
        {0.05, false, 0.04, 0.03, 0.05, OPT_VERDICT_PASS},
        {0.05, false, 0.045, 0.035, 0.055, OPT_VERDICT_INCONCLUSIVE},
        {0.05, false, 0.055, 0.045, 0.065, OPT_VERDICT_INCONCLUSIVE},
        {0.05, false, 0.07, 0.06, 0.08, OPT_VERDICT_FAIL},
        {0.9, true, 0.95, 0.92, 0.98, OPT_VERDICT_PASS},
        {0.9, true, 0.91, 0.88, 0.94, OPT_VERDICT_INCONCLUSIVE},
        {0.9, true, 0.8, 0.78, 0.82, OPT_VERDICT_FAIL},
        {0.05, false, NAN, NAN, NAN, OPT_VERDICT_FAIL},
        {0.9, true, NAN, NAN, NAN, OPT_VERDICT_FAIL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        opt_gate g;
        opt_gate_set(&g, "max-kld", rows[i].limit, rows[i].at_least, rows[i].value, rows[i].low,
                     rows[i].high);
        if (g.verdict != rows[i].verdict) {
            fail_msg("row %zu: verdict %d", i, (int)g.verdict);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gate__verdicts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
