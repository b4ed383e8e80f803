/* Totals the bookings of a warehouse, with a pause of 4 ms (over TIMES) after each batch: bookings SECONDS [TIMES]. `bookings check` compares
   both ways of doing it. */
#define _GNU_SOURCE
#include "bookings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 5000u
#define ARTICLES 4500u
#define PAUSE_NS 4000000L

static struct booking batch[BATCH], totals[BATCH], others[BATCH];

static unsigned chance(unsigned limit)
{
    static unsigned long long state = 1;
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state >> 33) % limit;
}

static void next_batch(void)
{
    for (size_t i = 0; i < BATCH; i++) {
        batch[i] = (struct booking){100000u + chance(ARTICLES), (int)chance(60) - 20};
    }
}

static int by_pieces(const void *one, const void *other)
{
    return ((const struct booking *)one)->pieces - ((const struct booking *)other)->pieces;
}

static size_t in_order(size_t count)
{
    qsort(totals, count, sizeof totals[0], by_pieces);
    return count;
}

static size_t write_report(size_t count, char *text, size_t room)
{
    size_t used = 0;
    for (size_t i = 0; i < count && used + 32 < room; i++) {
        used += (size_t)snprintf(text + used, room - used, "%u;%d\n", totals[i].article, totals[i].pieces);
    }
    return used;
}

static int check(void)
{
    next_batch();
    size_t count = total_by_scan(batch, BATCH, totals);
    return count == total_by_table(batch, BATCH, others) && memcmp(totals, others, count * sizeof totals[0]) == 0 ? 0 : 1;
}

static int planted(void)
{
    const char *problems = getenv("LAB_PROBLEMS");
    return problems == NULL || strcmp(problems, "all") == 0 || strstr(problems, "native-bookings") != NULL;
}

int main(int argc, char **argv)
{
    static char text[BATCH * 32];
    if (argc != 2 && argc != 3) {
        fputs("usage: bookings SECONDS [TIMES] | check\n", stderr);
        return 2;
    }
    if (strcmp(argv[1], "check") == 0) {
        return check();
    }
    double seconds = atof(argv[1]);
    double times = argc == 3 ? atof(argv[2]) : 1.0;
    size_t (*total)(const struct booking *, size_t, struct booking *) = planted() ? total_by_scan : total_by_table;
    struct timespec start, now;
    size_t written = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    puts("ready");
    fflush(stdout);
    do {
        struct timespec pause = {0, (long)(PAUSE_NS / (times >= 1.0 ? times : 1.0))};
        next_batch();
        written += write_report(in_order(total(batch, BATCH, totals)), text, sizeof text);
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
    return written > 0 ? 0 : 1;
}
