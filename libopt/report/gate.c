#include "opt/report.h"

void opt_gate_set(opt_gate *gate, const char *name, double limit, bool at_least, double value,
                  double low, double high) {
    gate->name = name;
    gate->limit = limit;
    gate->at_least = at_least;
    gate->value = value;
    gate->low = low;
    gate->high = high;
    const bool surely = at_least ? low >= limit : high <= limit;
    const bool surely_not = at_least ? high < limit : low > limit;
    gate->verdict =
        surely ? OPT_VERDICT_PASS : (surely_not ? OPT_VERDICT_FAIL : OPT_VERDICT_INCONCLUSIVE);
    if (!(value == value) || !(low == low) || !(high == high)) { /* not a number: nothing holds */
        gate->verdict = OPT_VERDICT_FAIL;
    }
}
