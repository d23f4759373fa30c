#include "eval/stats.h"

#include <math.h>
#include <stdlib.h>

void opt_stats_mean(const double *x, int64_t n, double *mean, double *std_error) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
    }
    const double m = n > 0 ? sum / (double)n : 0.0;
    double squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        squares += (x[i] - m) * (x[i] - m);
    }
    *mean = m;
    *std_error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0.0;
}

void opt_stats_wilson(double share, int64_t n, double z, double *low, double *high) {
    const double trials = (double)n;
    const double shrink = 1 + z * z / trials;
    const double center = (share + z * z / (2 * trials)) / shrink;
    const double half =
        z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / shrink;
    *low = share > 0 ? fmax(0, center - half) : 0; /* exact ends, whatever was rounded */
    *high = share < 1 ? fmin(1, center + half) : 1;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

void opt_stats_sort(double *x, int64_t n) { qsort(x, (size_t)n, sizeof *x, compare_doubles); }

double opt_stats_percentile(const double *sorted, int64_t n, double p) {
    const double rank = p / 100.0 * (double)(n - 1);
    const int64_t low = (int64_t)floor(rank);
    const int64_t high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (rank - (double)low) * (sorted[high] - sorted[low]);
}
