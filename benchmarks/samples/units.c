// Units of work until the time is over, counted in a mapped file: `units FILE SECONDS THREADS`; THREADS idle threads stand beside.
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void *idle(void *unused) {
    pause();
    return unused;
}

static uint32_t checksum(uint32_t rounds) {
    uint32_t state = 1;
    for (uint32_t number = 0; number < rounds; number++) state = (state * 31 + number) % 65521;
    return state;
}

int main(int count, char **argument) {
    if (count != 4) return 2;
    int file = open(argument[1], O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, 8)) return 1;
    volatile uint64_t *units = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (units == MAP_FAILED) return 1;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (int number = 0; number < atoi(argument[3]); number++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, idle, NULL)) return 1;
    }
    puts("ready");
    fflush(stdout);
    volatile uint32_t kept = 0;
    for (time_t over = time(NULL) + atoi(argument[2]); time(NULL) < over; ++*units) kept += checksum(200000);
    return 0;
}
