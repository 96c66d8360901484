/* Load of N calls for a relay: own socket for each leg, 172-byte RTP every 20 ms, 1/20 of the legs each millisecond.
 *
 * gen CALLS SECONDS: prints the 2*CALLS local ports (caller, agent, caller, agent ...) on one line, reads as many relay
 * ports from stdin, runs, prints one JSON object. Delays are of packets that come back with their send time intact.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 12, PACKET = 172, SLOTS = 20, DELAYS_MAX = 4000000, BATCH = 256, DRAIN_NS = 300000000 };
static const uint64_t STAMP_MARK = 0x70617969767263ULL;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

struct leg {
    int fd;
    uint16_t sequence;
    uint32_t timestamp, ssrc;
};

static struct leg *legs;
static int leg_count;
static uint32_t *delays_us;
static size_t delay_count, received, sent, refused;
static uint8_t noise[4096];

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void send_one(struct leg *leg) {
    uint8_t packet[PACKET];
    uint64_t stamp = now_ns(), mark = STAMP_MARK;
    leg->sequence++;
    leg->timestamp += 160;
    packet[0] = 0x80;
    packet[1] = 0;
    uint16_t sequence = htons(leg->sequence);
    uint32_t timestamp = htonl(leg->timestamp), ssrc = htonl(leg->ssrc);
    memcpy(packet + 2, &sequence, 2);
    memcpy(packet + 4, &timestamp, 4);
    memcpy(packet + 8, &ssrc, 4);
    memcpy(packet + HEADER, noise + (leg->sequence * 37 & 2047), PACKET - HEADER);
    memcpy(packet + HEADER, &mark, 8);
    memcpy(packet + HEADER + 8, &stamp, 8);
    if (send(leg->fd, packet, PACKET, 0) == PACKET)
        sent++;
    else
        refused++;
}

static void receive(int epoll, int timeout_ms) {
    struct epoll_event events[BATCH];
    int ready = epoll_wait(epoll, events, BATCH, timeout_ms);
    for (int at = 0; at < ready; at++) {
        uint8_t packet[2048];
        ssize_t size = recv(events[at].data.fd, packet, sizeof packet, MSG_DONTWAIT);
        if (size < HEADER)
            continue;
        received++;
        uint64_t mark, stamp;
        memcpy(&mark, packet + HEADER, 8);
        memcpy(&stamp, packet + HEADER + 8, 8);
        if (size == PACKET && mark == STAMP_MARK && delay_count < DELAYS_MAX)
            delays_us[delay_count++] = (uint32_t)((now_ns() - stamp) / 1000);
    }
}

int main(int count, char **arguments) {
    if (count != 3)
        return 2;
    leg_count = 2 * atoi(arguments[1]);
    double seconds = atof(arguments[2]);
    legs = calloc((size_t)leg_count, sizeof *legs);
    delays_us = malloc(DELAYS_MAX * sizeof *delays_us);
    srand(1);
    for (size_t at = 0; at < sizeof noise; at++)
        noise[at] = (uint8_t)(0x80 | (rand() & 0x3f) | (rand() & 1) << 7);
    int epoll = epoll_create1(0);
    for (int at = 0; at < leg_count; at++) {
        struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof own;
        legs[at].fd = socket(AF_INET, SOCK_DGRAM, 0);
        legs[at].ssrc = (uint32_t)rand();
        if (bind(legs[at].fd, (struct sockaddr *)&own, size) || getsockname(legs[at].fd, (struct sockaddr *)&own, &size))
            die("bind");
        printf("%d ", ntohs(own.sin_port));
    }
    printf("\n");
    fflush(stdout);
    for (int at = 0; at < leg_count; at++) {
        int port;
        if (scanf("%d", &port) != 1)
            return 3;
        struct sockaddr_in relay = {
            .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (connect(legs[at].fd, (struct sockaddr *)&relay, sizeof relay))
            die("connect");
        struct epoll_event event = {.events = EPOLLIN, .data.fd = legs[at].fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, legs[at].fd, &event);
    }
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), due = start;
    for (uint64_t slot = 0; due < end; slot++, due += 1000000) {
        while (now_ns() < due)
            receive(epoll, 1);
        for (int at = (int)(slot % SLOTS); at < leg_count; at += SLOTS)
            send_one(&legs[at]);
        receive(epoll, 0);
    }
    for (end = now_ns() + DRAIN_NS; now_ns() < end;)
        receive(epoll, 5);
    qsort(delays_us, delay_count, sizeof *delays_us, compare);
    printf("{\"sent\": %zu, \"received\": %zu, \"refused\": %zu, \"p50_us\": %u, \"p99_us\": %u}\n", sent, received,
           refused, delay_count ? delays_us[delay_count / 2] : 0, delay_count ? delays_us[delay_count * 99 / 100] : 0);
    return 0;
}
