#ifndef BOOKINGS_H
#define BOOKINGS_H

#include <stddef.h>

struct booking {
    unsigned article;
    int pieces;
};

/* Adds up the pieces of each article in the order in which articles first appear; `totals` has room for `count`. Both give equal results. */
size_t total_by_scan(const struct booking *bookings, size_t count, struct booking *totals);
size_t total_by_table(const struct booking *bookings, size_t count, struct booking *totals);

#endif
