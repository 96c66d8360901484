/* Random datagrams through lane.c, under the sanitizers: lane_fuzz COUNT. */
#include "lane.c"

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

enum { ROWS = 2, BUFFER = 2048 };

static int udp(struct sockaddr_in *address) {
    socklen_t size = sizeof *address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)address, size) || getsockname(fd, (struct sockaddr *)address, &size))
        exit(3);
    return fd;
}

int main(int count, char **arguments) {
    if (count != 2)
        return 2;
    struct sockaddr_in here, there;
    int ours = udp(&here), peer = udp(&there), epoll = epoll_create1(0);
    if (connect(ours, (struct sockaddr *)&there, sizeof there) || connect(peer, (struct sockaddr *)&here, sizeof here))
        return 3;
    struct lane *table = calloc((size_t)ours + 1, sizeof *table), *lane = &table[ours];
    uint8_t *buffer = malloc(BUFFER), *taken = calloc(ROWS, 1), *frames = malloc(DEPTH * ROWS * FRAME_BYTES);
    uint8_t *law = calloc(256, 1), datagram[BUFFER + 64];
    struct lanes *lanes =
        lanes_open(epoll, table, (uint32_t)ours + 1, buffer, BUFFER, taken, frames, ROWS, law, law, frames, frames, DEPTH);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = ours};
    epoll_ctl(epoll, EPOLL_CTL_ADD, ours, &event);
    *lane = (struct lane){.ssrc = 7, .out_fd = ours, .row = ROWS - 1, .carried = 1};
    long handed = 0, runs = 0;
    srand(1);
    for (long at = atol(arguments[1]); at > 0; at--) {
        size_t size = rand() % 4 ? ORDINARY_BYTES : (size_t)rand() % sizeof datagram;
        for (size_t place = 0; place < size; place++)
            datagram[place] = (uint8_t)rand();
        uint64_t head = htobe64(lane->last + NEXT);
        uint32_t ssrc = htobe32(7);
        if (rand() % 3 && size >= HEADER_BYTES) {
            memcpy(datagram, &head, sizeof head);
            memcpy(datagram + sizeof head, &ssrc, sizeof ssrc);
        }
        lane->law = (uint32_t)rand() % 3;
        lane->end = rand() % 50 ? ~0ULL : lane->last + NEXT;
        lane->ssrc = 7;
        taken[ROWS - 1] = (uint8_t)(rand() % 4 ? rand() % (DEPTH + 1) : rand());
        if (send(peer, datagram, size, 0) < 0)
            continue;
        handed += lanes_next(lanes, now_ns() + 300000) >= 0;
        lane->hum = (uint32_t)rand() % 4;
        lane->own_end = (uint64_t)rand();
        uint32_t one = (uint32_t)ours;
        lanes_hum(lanes, &one, 1, at);
        while (recv(peer, datagram, sizeof datagram, 0) > 0)
            ;
    }
    runs = lane->run;
    printf("%ld ordinary, %ld handed over\n", runs, handed);
    lanes_close(lanes);
    free(table);
    free(buffer);
    free(taken);
    free(frames);
    free(law);
    return runs > 0 && handed > 0 ? 0 : 1;
}
