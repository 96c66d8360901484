/* The yardstick: the least a relay can do, one recv and one send for each packet over connected sockets.
 *
 * bare_relay LEGS: reads the peers' ports from stdin, prints its own ports, forwards between legs 2n and 2n+1.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { BATCH = 64 };

int main(int count, char **arguments) {
    int legs = count == 2 ? atoi(arguments[1]) : 0;
    int *fds = calloc((size_t)legs, sizeof *fds), epoll = epoll_create1(0);
    for (int at = 0; at < legs; at++) {
        int port;
        struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_in peer = own;
        socklen_t size = sizeof own;
        if (scanf("%d", &port) != 1)
            return 2;
        peer.sin_port = htons((uint16_t)port);
        fds[at] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (bind(fds[at], (struct sockaddr *)&own, size) || connect(fds[at], (struct sockaddr *)&peer, size) ||
            getsockname(fds[at], (struct sockaddr *)&own, &size))
            return 3;
        printf("%d ", ntohs(own.sin_port));
    }
    printf("\n");
    fflush(stdout);
    for (int at = 0; at < legs; at++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)at};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fds[at], &event);
    }
    for (;;) {
        struct epoll_event events[BATCH];
        int ready = epoll_wait(epoll, events, BATCH, -1);
        for (int at = 0; at < ready; at++) {
            uint8_t packet[2048];
            uint32_t leg = events[at].data.u32;
            ssize_t size = recv(fds[leg], packet, sizeof packet, 0);
            if (size > 0)
                send(fds[leg ^ 1], packet, (size_t)size, 0);
        }
    }
}
