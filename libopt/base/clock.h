/** Time for measurements: never for outputs, which carry none. */
#ifndef OPT_BASE_CLOCK_H
#define OPT_BASE_CLOCK_H

/** Wall-clock seconds since some point in the past. */
double opt_seconds(void);

#endif
