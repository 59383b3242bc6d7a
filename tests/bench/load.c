/* The load: many clients in one thread, on epoll, so that the client is not what is measured.
 *
 *   load echo PORT PATH CLIENTS SECONDS WINDOW EVERY_MS MESSAGE     each client keeps WINDOW messages on the way
 *   load fanout PORT PATH CLIENTS SECONDS WINDOW EVERY_MS MESSAGE   the first client sends, all of them receive
 *   load talk PORT PATH CLIENTS SECONDS WINDOW 0 MESSAGE            each client sends to all, again when it has a message from each
 *   load http PORT PATH CLIENTS SECONDS WINDOW EVERY_MS ""          GET on kept connections
 *   load open PORT PATH CLIENTS SECONDS WINDOW RATE MESSAGE         RATE messages a second by the clock, answered or not
 *   load openhttp PORT PATH CLIENTS SECONDS WINDOW RATE ""          the same with GET
 *   load room PORT[,PORT] PATH CLIENTS SECONDS WINDOW RATE MESSAGE  members of a room, spread over servers; the first at each speaks
 *   load idle PORT PATH CLIENTS                                     sockets that stay open until stdin ends
 *   load serve PORT                                                 an echo server: the most that this client can measure
 *
 * EVERY_MS > 0: one message at a time (WINDOW is 1), the next one so long after its answer. With RATE a round trip begins when
 * its message was due, sent or not: more than WINDOW are not on the way in one socket, and those behind them wait in the client.
 * In a room each who speaks keeps WINDOW messages on the way, or says RATE / 2 a second by the clock. MESSAGE has #00000000 in it,
 * where its number is written; with 42 at its begin it is Socket.IO's. "disordered": how often a member has not heard the next one.
 * Process ids behind the message are the server's. The result is a line of JSON: answers (of a fan-out: deliveries), how many
 * a second, the client's own CPU in percent of one core, the CPU seconds of each of the server's processes, round trips in ms;
 * of a room from who speaks to each member, the "far" ones to those at the other server. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLES = 1 << 22, BUFFER = 1 << 18, PROCESSES = 64, SPEAKERS = 2, ROOM_WINDOW = 1 << 16 };
typedef struct { int fd, used, server; long due, sent, received, next[SPEAKERS]; char *data; double begun; } Client;
typedef void Take(Client *c, const char *frame, int size);
static const double DRAIN = 5; /* seconds for the last answers of an open loop */
typedef struct { double at, client, server[PROCESSES]; } Cost;

static char out[1 << 16], buffer[BUFFER];
static int out_size, http;
static float samples[SAMPLES], far_samples[SAMPLES];
static long n_samples, n_far, disordered;
static clockid_t clocks[PROCESSES]; /* of the server's processes */
static int n_clocks;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what) { perror(what); exit(1); }

static double spent(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t)) die("the CPU time of the server");
    return t.tv_sec + t.tv_nsec / 1e9;
}

static Cost cost(void) {
    Cost c = {.at = now(), .client = cpu()};
    for (int i = 0; i < n_clocks; i++) c.server[i] = spent(clocks[i]);
    return c;
}

static int sent(int fd, const char *data, int size) {
    while (size > 0) {
        int n = send(fd, data, size, MSG_NOSIGNAL);
        if (n < 0) { if (errno == EAGAIN || errno == EINTR) continue; return 0; }
        data += n; size -= n;
    }
    return 1;
}

static void send_all(int fd, const char *data, int size) { if (!sent(fd, data, size)) die("send"); }

static int opened(int port, const char *path) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (http) return fd;
    char text[1024];
    int used = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path, port);
    send_all(fd, text, used);
    for (used = 0; used < (int)sizeof text - 1;) { /* byte by byte: frames may follow at once */
        if (recv(fd, text + used, 1, 0) != 1) die("handshake");
        text[++used] = 0;
        if (used > 4 && !strcmp(text + used - 4, "\r\n\r\n")) break;
    }
    if (strncmp(text, "HTTP/1.1 101", 12)) { fprintf(stderr, "%s\n", text); exit(1); }
    return fd;
}

/* A client's frame with a text, at `to`; its size. */
static int framed(char *to, const char *text) {
    int n = strlen(text), at = 0;
    to[at++] = (char)0x81;
    if (n < 126) to[at++] = (char)(0x80 | n);
    else { to[at++] = (char)0xfe; to[at++] = n >> 8; to[at++] = n & 255; }
    memcpy(to + at, "\1\2\3\4", 4); at += 4;
    for (int i = 0; i < n; i++) to[at++] = text[i] ^ (i % 4 + 1);
    return at;
}

static void make_message(int port, const char *path, const char *text) {
    if (http) out_size = snprintf(out, sizeof out, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", path, port);
    else out_size = framed(out, text);
}

/* The size of the answer at `p`, of which there are `n` bytes; 0: there are not enough. Control frames count as nothing. */
static int answer(const char *p, int n, int *counts) {
    const unsigned char *u = (const unsigned char *)p;
    *counts = 1;
    if (http) {
        char *end = memmem(p, n, "\r\n\r\n", 4), *length;
        if (!end) return 0;
        if (strncmp(p, "HTTP/1.1 200", 12)) { fprintf(stderr, "%.*s\n", n, p); exit(1); }
        length = strcasestr(p, "content-length:");
        if (!length || length > end) { fprintf(stderr, "no length: %.*s\n", n, p); exit(1); }
        int size = end + 4 - p + atoi(length + 15);
        return size <= n ? size : 0;
    }
    if (n < 2) return 0;
    int size = u[1] & 127, head = 2;
    if (size == 126) { if (n < 4) return 0; size = u[2] << 8 | u[3]; head = 4; }
    else if (size == 127) { if (n < 10) return 0; size = u[6] << 24 | u[7] << 16 | u[8] << 8 | u[9]; head = 10; }
    if ((u[0] & 15) == 8) { fprintf(stderr, "closed: %.*s\n", size, p + head); exit(1); }
    if (u[0] & 8) *counts = 0;
    return head + size <= n ? head + size : 0;
}

static int answers(Client *c, Take *take) {
    int found = 0, at = 0, size, counts;
    if (c->data) { memcpy(buffer, c->data, c->used); free(c->data); c->data = NULL; }
    int n = recv(c->fd, buffer + c->used, BUFFER - c->used - 1, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) { fprintf(stderr, "a connection has ended\n"); exit(1); }
    n = c->used + (n > 0 ? n : 0);
    buffer[n] = 0;
    for (; (size = answer(buffer + at, n - at, &counts)); at += size) {
        found += counts;
        if (take && counts) take(c, buffer + at, size);
    }
    c->used = n - at;
    if (c->used) { c->data = malloc(c->used); memcpy(c->data, buffer + at, c->used); }
    return found;
}

static void post(Client *c) { c->sent++; c->begun = now(); send_all(c->fd, out, out_size); }

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static float share(float *sorted, long n, double part) { return n ? sorted[(long)((n - 1) * part)] : 0; }

static void tell(Cost since, long count) {
    Cost c = cost();
    double took = c.at - since.at;
    qsort(samples, n_samples, sizeof *samples, by_size);
    qsort(far_samples, n_far, sizeof *far_samples, by_size);
    printf("{\"count\": %ld, \"rate\": %.1f, \"cpu\": %.1f, \"begin\": %.6f, \"end\": %.6f, ",
           count, count / took, (c.client - since.client) / took * 100, since.at, c.at);
    printf("\"disordered\": %ld, \"p50\": %.3f, \"p99\": %.3f, \"far p50\": %.3f, \"far p99\": %.3f, \"server\": [",
           disordered, share(samples, n_samples, 0.5), share(samples, n_samples, 0.99),
           share(far_samples, n_far, 0.5), share(far_samples, n_far, 0.99));
    for (int i = 0; i < n_clocks; i++) printf("%s%.6f", i ? ", " : "", c.server[i] - since.server[i]);
    printf("]}\n");
}

static void sample(double since) { if (n_samples < SAMPLES) samples[n_samples++] = (now() - since) * 1e3; }

static Client *open_all(int port, const char *path, int n, int epoll) {
    Client *clients = calloc(n, sizeof *clients);
    for (int i = 0; i < n; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
        clients[i].fd = opened(port, path);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &e)) die("epoll_ctl");
    }
    return clients;
}

/* Up to 1024 clients who have something to read, or none at `at`. */
static int wait_until(int epoll, struct epoll_event *events, double at) {
    double wait = at - now();
    if (wait < 0) wait = 0;
    struct timespec t = {(long)wait, (long)((wait - (long)wait) * 1e9)};
    return epoll_pwait2(epoll, events, 1024, &t, NULL);
}

static void push(Client *c, int window) { while (c->sent < c->due && c->sent - c->received < window) post(c); }

static void measure(int port, const char *path, int n, double seconds, int window, double every, int fanout, int talk) {
    int epoll = epoll_create1(0), ready;
    struct epoll_event events[1024];
    Client *clients = open_all(port, path, n, epoll);
    int senders = fanout ? 1 : n, begun = 0;
    long received = 0, count = 0;
    Cost since = {0};
    usleep(fanout || talk ? 200000 : 20000); /* they join the room */
    for (int i = 0; i < senders; i++) for (int k = 0; k < window; k++) post(&clients[i]);
    double begin = now() + (every > 0 ? 0.1 : 0.3), end = begin + seconds, due = 0, at;
    while ((at = now()) < end || !begun) {
        if (!begun && at > begin) { begun = 1; since = cost(); end = since.at + seconds; count = n_samples = 0; }
        if (due && at >= due) { for (int i = 0; i < senders; i++) post(&clients[i]); due = 0; }
        ready = wait_until(epoll, events, due ? due : end);
        for (int k = 0; k < ready; k++) {
            Client *c = events[k].data.ptr;
            int found = answers(c, NULL);
            count += found; received += found; c->received += found;
            if (talk) { for (; c->received >= (long)n * (c->sent - window + 1); post(c)) sample(c->begun); }
            else if (!fanout) for (; found > 0; found--) {
                sample(c->begun);
                if (every > 0) due = now() + every / 1e3;
                else post(c);
            }
        }
        if (fanout && received >= (long)n * (clients[0].sent - window + 1)) { /* everybody has it */
            if (!due) sample(clients[0].begun);
            if (every <= 0) post(&clients[0]);
            else if (!due) due = now() + every / 1e3;
        }
    }
    tell(since, count);
}

/* Message k of client i is due at `start` + (k n + i) / rate, whatever the server does. */
static void measure_open(int port, const char *path, int n, double seconds, int window, double rate) {
    int epoll = epoll_create1(0), ready, begun = 0;
    struct epoll_event events[1024];
    Client *clients = open_all(port, path, n, epoll);
    long planned = 0, received = 0, count = 0;
    Cost since = {0};
    prctl(PR_SET_TIMERSLACK, 1); /* or a wait takes 50 us too long */
    usleep(20000);
    double start = now(), begin = start + 0.3, end = begin + seconds, at;
    while ((at = now()) < end || !begun || (received < planned && at < end + DRAIN)) {
        if (!begun && at > begin) { begun = 1; since = cost(); count = 0; }
        for (; at < end && start + planned / rate <= at; planned++) {
            Client *c = &clients[planned % n];
            c->due++;
            push(c, window);
        }
        ready = wait_until(epoll, events, at < end ? start + planned / rate : end + DRAIN);
        for (int k = 0; k < ready; k++) {
            Client *c = events[k].data.ptr;
            for (int found = answers(c, NULL); found > 0; found--, c->received++, received++, count++) {
                double was_due = start + (c->received * n + (c - clients)) / rate;
                if (was_due >= begin) sample(was_due);
            }
            push(c, window);
        }
    }
    for (int i = 0; i < n; i++) for (long k = clients[i].received; k < clients[i].due; k++) /* never answered: at least so long */
        sample(start + (k * n + i) / rate);
    tell(since, count);
}

/* Message `number` of speaker `s` is the number * n_ports + s: a member hears those of a speaker one after the other. */
static Client *members;
static int n_members, n_ports, digits_at; /* where the number is in the frame `out` */
static double due_at[ROOM_WINDOW]; /* by the message's number, in a ring */
static int heard_by[ROOM_WINDOW], window_left[SPEAKERS];
static long room_count;

static void speak(int s, double due) {
    long id = members[s].sent++ * n_ports + s;
    static const char hex[] = "0123456789abcdef";
    for (int i = 0, at = digits_at; i < 8; i++, at++) {
        int in_payload = at - (out_size > 131 ? 8 : 6);
        out[at] = hex[id >> (28 - 4 * i) & 15] ^ (in_payload % 4 + 1);
    }
    due_at[id % ROOM_WINDOW] = due;
    heard_by[id % ROOM_WINDOW] = 0;
    send_all(members[s].fd, out, out_size);
}

static void take_said(Client *c, const char *frame, int size) {
    static char pong[8];
    if (size == 3 && frame[2] == '2') return send_all(c->fd, pong, framed(pong, "3")); /* Engine.IO's ping */
    const char *found = memchr(frame, '#', size);
    if (!found) return;
    unsigned long id = 0;
    for (int i = 1; i <= 8; i++) id = id << 4 | (found[i] <= '9' ? found[i] - '0' : found[i] - 'a' + 10);
    int s = id % n_ports, here = c->server == s;
    if ((long)id / n_ports != c->next[s]) disordered++;
    c->next[s] = id / n_ports + 1;
    room_count++;
    float took = (now() - due_at[id % ROOM_WINDOW]) * 1e3;
    if (here && n_samples < SAMPLES) samples[n_samples++] = took;
    if (!here && n_far < SAMPLES) far_samples[n_far++] = took;
    if (++heard_by[id % ROOM_WINDOW] == n_members) window_left[s]++;
}

static void measure_room(char *ports, const char *path, int n, double seconds, int window, double rate, const char *text) {
    int epoll = epoll_create1(0), ready, begun = 0, port[SPEAKERS];
    struct epoll_event events[1024];
    for (char *at = strtok(ports, ","); at && n_ports < SPEAKERS; at = strtok(NULL, ",")) port[n_ports++] = atoi(at);
    members = calloc(n_members = n, sizeof *members);
    for (int i = 0; i < n; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &members[i]};
        members[i].server = i % n_ports;
        members[i].fd = opened(port[members[i].server], path);
        if (!strncmp(text, "42", 2)) send_all(members[i].fd, out, framed(out, "40")); /* Socket.IO: the main namespace */
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, members[i].fd, &e)) die("epoll_ctl");
    }
    make_message(0, "", text);
    digits_at = out_size - strlen(strchr(text, '#')) + 1;
    Cost since = {0};
    prctl(PR_SET_TIMERSLACK, 1);
    usleep(1500000); /* they join the room */
    double start = now(), begin = start + 0.5, end = begin + seconds, at, due;
    long planned = 0;
    for (int s = 0; s < n_ports; s++) window_left[s] = rate > 0 ? 0 : window;
    while ((at = now()) < end || !begun) {
        if (!begun && at > begin) { begun = 1; since = cost(); room_count = n_samples = n_far = 0; }
        for (; rate > 0 && (due = start + planned / rate) <= at; planned++) speak(planned % n_ports, due);
        for (int s = 0; rate <= 0 && s < n_ports; s++) for (; window_left[s] > 0; window_left[s]--) speak(s, at);
        ready = wait_until(epoll, events, rate > 0 && start + planned / rate < end ? start + planned / rate : end);
        for (int k = 0; k < ready; k++) answers(events[k].data.ptr, take_said);
    }
    if (!room_count) { fprintf(stderr, "nothing was heard\n"); exit(1); }
    tell(since, room_count);
}

/* Unmasks each frame in its place and sends it back; whatever it gets before the first frame is a handshake. */
static void serve(int port) {
    static const char hello[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    static char reply[BUFFER];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, epoll = epoll_create1(0), ready;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024)) die("bind");
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, events[1024];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        ready = epoll_wait(epoll, events, 1024, -1);
        for (int k = 0; k < ready; k++) {
            int fd = events[k].data.fd;
            if (fd == listener) {
                e.data.fd = accept(listener, NULL, NULL);
                setsockopt(e.data.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                epoll_ctl(epoll, EPOLL_CTL_ADD, e.data.fd, &e);
                continue;
            }
            int n = recv(fd, buffer, BUFFER, 0), size = 0;
            if (n <= 0) { close(fd); continue; }
            if (buffer[0] == 'G') { if (!sent(fd, hello, sizeof hello - 1)) close(fd); continue; }
            for (int p = 0; p + 6 <= n;) {
                int length = buffer[p + 1] & 127, mask = p + 2;
                if (length > 125) { fprintf(stderr, "serve: only short messages\n"); exit(1); }
                reply[size++] = buffer[p]; reply[size++] = length;
                for (int i = 0; i < length; i++) reply[size++] = buffer[mask + 4 + i] ^ buffer[mask + i % 4];
                p = mask + 4 + length;
            }
            if (!sent(fd, reply, size)) close(fd); /* The client has ended */
        }
    }
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (argc == 3 && !strcmp(argv[1], "serve")) serve(atoi(argv[2]));
    if (argc == 5 && !strcmp(argv[1], "idle")) {
        open_all(atoi(argv[2]), argv[3], atoi(argv[4]), epoll_create1(0));
        printf("{}\n");
        fflush(stdout);
        while (read(0, buffer, BUFFER) > 0);
        return 0;
    }
    if (argc < 9 || argc > 9 + PROCESSES) { fprintf(stderr, "see the top of load.c\n"); return 2; }
    for (int i = 9; i < argc; i++) if (clock_getcpuclockid(atoi(argv[i]), &clocks[n_clocks++])) die("no such process");
    const char *mode = argv[1], *path = argv[3];
    int port = atoi(argv[2]), clients = atoi(argv[4]), window = atoi(argv[6]), open_loop = !strncmp(mode, "open", 4);
    double seconds = atof(argv[5]), rate_or_every = atof(argv[7]);
    http = !strcmp(mode, "http") || !strcmp(mode, "openhttp");
    if (!strcmp(mode, "room")) {
        measure_room(argv[2], path, clients, seconds, window, rate_or_every, argv[8]);
        return 0;
    }
    make_message(port, path, argv[8]);
    if (open_loop) measure_open(port, path, clients, seconds, window, rate_or_every);
    else measure(port, path, clients, seconds, window, rate_or_every, !strcmp(mode, "fanout"), !strcmp(mode, "talk"));
    return 0;
}
