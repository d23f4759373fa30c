/** Summary statistics of per-token measurements: means with standard errors and percentiles. */
#ifndef OPT_EVAL_STATS_H
#define OPT_EVAL_STATS_H

#include <stdint.h>

/**
 * Mean of x[n] and its standard error sqrt(var / n) with the unbiased variance (0 for n < 2). Sums
 * in index order.
 */
void opt_stats_mean(const double *x, int64_t n, double *mean, double *std_error);

/**
 * Interval of a share of n > 0 trials: the score interval of Wilson (1927), with
 * z standard deviations of a normal distribution. Unlike share +- z * error it is never empty and
 * stays within 0 and 1, also when all trials agree.
 */
void opt_stats_wilson(double share, int64_t n, double z, double *low, double *high);

/** Sorts x[n] in increasing order, for opt_stats_percentile. */
void opt_stats_sort(double *x, int64_t n);

/**
 * Percentile p in [0, 100] of sorted x[n], n > 0, linear between the two nearest ranks (rank p/100
 * * (n-1)).
 */
double opt_stats_percentile(const double *sorted, int64_t n, double p);

#endif
