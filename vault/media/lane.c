/* The short way of an ordinary packet, compiled; lane.py says what it does and has the same in Python.
 *
 * No state but what lane.py hands over, no allocation after lanes_open, nothing read beyond `length`.
 * A packet that differs in any way from the one that is expected stays in the buffer for Python.
 */
#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum { HEADER_BYTES = 12, FRAME_BYTES = 160, ORDINARY_BYTES = 172, EVENTS_MAX = 256, LOOK_EVERY = 8, DEPTH = 4 };

static const int64_t NS_PER_UNIT = 125000, LONGEST_NS = 1000000000;
static const uint64_t NEXT = (uint64_t)1 << 32 | FRAME_BYTES;
static const uint64_t LOOK = (uint64_t)(LOOK_EVERY - 1) << 32;

/* As Lane in lane.py, field by field. */
struct lane {
    uint64_t last, end, shift, own, own_end;
    int64_t ssrc, transit, jitter, hum_units;
    uint32_t run, failures, out_ssrc;
    int32_t out_fd, row;
    uint32_t law, carried, hum, hum_at, hummed, hum_failures, own_ssrc;
};

struct lanes {
    int64_t units; /* the RTP clock at the last wait */
    int epoll, ready, at;
    uint32_t count, buffer_bytes, rows;
    struct lane *table;
    uint8_t *buffer, *taken, *frames;
    const uint8_t *laws[3], *noises[3];
    uint32_t noise_frames;
    struct epoll_event events[EVENTS_MAX];
};

/* Which source this was built from: lane.py refuses another one. */
const char *lanes_source(void) { return LANE_SOURCE; }

uint32_t lanes_lane_bytes(void) { return sizeof(struct lane); }

struct lanes *lanes_open(int epoll, struct lane *table, uint32_t count, uint8_t *buffer, uint32_t buffer_bytes,
                         uint8_t *taken, uint8_t *frames, uint32_t rows, const uint8_t *ulaw_to_alaw, const uint8_t *alaw_to_ulaw,
                         const uint8_t *ulaw_noise, const uint8_t *alaw_noise, uint32_t noise_frames) {
    struct lanes *lanes = calloc(1, sizeof *lanes);
    if (lanes == NULL)
        return NULL;
    lanes->epoll = epoll;
    lanes->table = table;
    lanes->count = count;
    lanes->buffer = buffer;
    lanes->buffer_bytes = buffer_bytes;
    lanes->taken = taken;
    lanes->frames = frames;
    lanes->rows = rows;
    lanes->laws[1] = ulaw_to_alaw;
    lanes->laws[2] = alaw_to_ulaw;
    lanes->noises[1] = ulaw_noise;
    lanes->noises[2] = alaw_noise;
    lanes->noise_frames = noise_frames;
    return lanes;
}

void lanes_close(struct lanes *lanes) { free(lanes); }

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void look(struct lane *lane, uint64_t head, int64_t units) {
    int64_t transit = units - (int64_t)(head & 0xFFFFFFFF), step = transit - lane->transit;
    lane->transit = transit;
    lane->jitter += (step < 0 ? -step : step) - ((lane->jitter + 8) >> 4);
}

/* True when the datagram in the buffer was the lane's next ordinary packet, and has been heard and moved on. */
static int carry(struct lanes *lanes, struct lane *lane) {
    uint8_t *packet = lanes->buffer;
    uint64_t head;
    uint32_t ssrc;
    memcpy(&head, packet, sizeof head);
    memcpy(&ssrc, packet + sizeof head, sizeof ssrc);
    head = be64toh(head);
    if (head - lane->last != NEXT || (int64_t)be32toh(ssrc) != lane->ssrc)
        return 0;
    if (lane->row >= 0) {
        uint8_t depth = lanes->taken[lane->row];
        if (depth >= DEPTH)
            return 0;
        memcpy(lanes->frames + ((size_t)depth * lanes->rows + (size_t)lane->row) * FRAME_BYTES, packet + HEADER_BYTES,
               FRAME_BYTES);
        lanes->taken[lane->row] = depth + 1;
    }
    lane->last = head;
    lane->run++;
    if (head == lane->end)
        lane->ssrc = -1;
    if (!(head & LOOK))
        look(lane, head, lanes->units);
    if (lane->out_fd < 0)
        return 1;
    head = htobe64(head + lane->shift);
    ssrc = htobe32(lane->out_ssrc);
    memcpy(packet, &head, sizeof head);
    memcpy(packet + sizeof head, &ssrc, sizeof ssrc);
    if (lane->law != 0)
        for (int at = HEADER_BYTES; at < ORDINARY_BYTES; at++)
            packet[at] = lanes->laws[lane->law][packet[at]];
    if (send(lane->out_fd, packet, ORDINARY_BYTES, MSG_DONTWAIT) != ORDINARY_BYTES)
        lane->failures++;
    return 1;
}

/* Wait until something can be read; false when `due_ns` has come or a signal came instead. */
static int wait_for(struct lanes *lanes, int64_t due_ns) {
    int64_t left_ns = due_ns - now_ns();
    int timeout_ms = left_ns <= 0 ? 0 : left_ns > LONGEST_NS ? LONGEST_NS / 1000000 : (int)((left_ns + 999999) / 1000000);
    int ready = epoll_wait(lanes->epoll, lanes->events, EVENTS_MAX, timeout_ms);
    lanes->at = 0;
    lanes->ready = ready > 0 ? ready : 0;
    lanes->units = now_ns() / NS_PER_UNIT;
    return ready > 0;
}

/* The next socket Python must see to, with the length of its datagram and one more in the upper half when it has a
 * lane (the datagram is in the buffer then, and may be empty); -1 when `due_ns` of the monotonic clock has come. */
int64_t lanes_next(struct lanes *lanes, int64_t due_ns) {
    for (;;) {
        while (lanes->at < lanes->ready) {
            uint32_t fd = (uint32_t)lanes->events[lanes->at++].data.fd;
            if (fd >= lanes->count || !lanes->table[fd].carried)
                return (int64_t)fd;
            struct lane *lane = &lanes->table[fd];
            ssize_t length = recv((int)fd, lanes->buffer, lanes->buffer_bytes, MSG_DONTWAIT);
            if (length < 0)
                continue; /* ECONNREFUSED: the peer's port was closed a moment ago; EAGAIN: nothing there after all */
            if (length != ORDINARY_BYTES || !carry(lanes, lane))
                return (int64_t)(length + 1) << 32 | fd;
        }
        if (now_ns() >= due_ns || !wait_for(lanes, due_ns))
            return -1;
    }
}

static void hum(struct lanes *lanes, struct lane *lane, int fd, int64_t units) {
    uint8_t packet[ORDINARY_BYTES];
    lane->own += NEXT;
    lane->hum_at = (lane->hum_at + 1) % lanes->noise_frames;
    uint64_t head = htobe64(lane->own);
    uint32_t ssrc = htobe32(lane->own_ssrc);
    memcpy(packet, &head, sizeof head);
    memcpy(packet + sizeof head, &ssrc, sizeof ssrc);
    memcpy(packet + HEADER_BYTES, lanes->noises[lane->hum] + (size_t)lane->hum_at * FRAME_BYTES, FRAME_BYTES);
    if (send(fd, packet, ORDINARY_BYTES, MSG_DONTWAIT) != ORDINARY_BYTES)
        lane->hum_failures++;
    lane->hummed++;
    lane->hum_units = units;
    if (lane->own == lane->own_end)
        lane->hum = 0;
}

/* One frame of comfort noise from every socket of `fds` that hums; how many of them did not. */
uint32_t lanes_hum(struct lanes *lanes, const uint32_t *fds, uint32_t count, int64_t units) {
    uint32_t silent = 0;
    for (uint32_t at = 0; at < count; at++) {
        struct lane *lane = &lanes->table[fds[at]];
        if (fds[at] >= lanes->count || lane->hum == 0 || lane->hum > 2)
            silent++;
        else
            hum(lanes, lane, (int)fds[at], units);
    }
    return silent;
}
