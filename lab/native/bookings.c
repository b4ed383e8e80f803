#include "bookings.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS 8192u

size_t total_by_scan(const struct booking *bookings, size_t count, struct booking *totals)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        while (at < found && totals[at].article != bookings[i].article) { /* planted: native-bookings */
            at++;
        }
        if (at == found) {
            totals[found++] = bookings[i];
        } else {
            totals[at].pieces += bookings[i].pieces;
        }
    }
    return found;
}

size_t total_by_table(const struct booking *bookings, size_t count, struct booking *totals)
{
    static size_t slots[SLOTS]; /* position in totals + 1, 0 is free */
    size_t found = 0;
    memset(slots, 0, sizeof slots);
    for (size_t i = 0; i < count; i++) {
        unsigned slot = bookings[i].article * 2654435761u % SLOTS;
        while (slots[slot] != 0 && totals[slots[slot] - 1].article != bookings[i].article) {
            slot = (slot + 1) % SLOTS;
        }
        if (slots[slot] == 0) {
            totals[found++] = bookings[i];
            slots[slot] = found;
        } else {
            totals[slots[slot] - 1].pieces += bookings[i].pieces;
        }
    }
    return found;
}
