/** Shared by the two renderings of a report. */
#ifndef OPT_REPORT_RENDER_H
#define OPT_REPORT_RENDER_H

#include "opt/report.h"

/** "pass", "fail", "inconclusive". */
const char *opt_verdict_name(opt_verdict verdict);

/** Mean of speeds and sizes that both renderings show: bits of a file for each weight of the model,
 * and the like. */
double opt_report_ratio(double a, double b); /* a / b, 0 where b is 0 */

#endif
