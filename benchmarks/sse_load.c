/* The load of `python -m benchmarks sse`: subscribers, a publisher and readers of a page, in one thread.
 *
 *     sse_load PORT SUBSCRIBERS EVENT_BYTES LIMIT_SECONDS SUBSCRIBE_PATH PUBLISH_PATH PAGE_PATH PAGE
 *
 * It opens SUBSCRIBERS streams on 127.0.0.1, prints a JSON line when each has had the head of a 200,
 * and then obeys lines on its standard input, each answered by one JSON line:
 *
 *     run WINDOW GAP_MICROSECONDS WARM_MILLISECONDS MILLISECONDS EVENTS PAGES_PER_SECOND
 *
 * Events are published by POST, as long as fewer than WINDOW of them are still awaited by anyone: no
 * queue in the server grows longer than that, and with a WINDOW of more than one the server always has
 * something to do. Several connections publish, so that none of them waits for an answer with nothing
 * else under way. GAP lies between an event's last receipt and the next. EVENTS ends the run early; 0
 * for no such end. Whatever is out is then waited for.
 *
 * An event's data is EVENT_BYTES of 'x' that end in '#' and eight digits, its number. How a server
 * frames it is not looked at: a delivery is a number that arrived. Those that never come are `lost`, and
 * those that come again `repeated`. Nothing else it could read from a server here holds a '#'.
 *
 * Pages are asked for at a fixed rate over a few connections, and timed from when they were due.
 * The kernel ends this program after LIMIT_SECONDS; it ends by itself at the end of its input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define READERS 4                /* connections that ask for the page */
#define PUBLISHERS 4             /* connections that publish */
#define WINDOW_MAX 64            /* events that can be out at once: bits in `ahead` */
#define OPENING 256              /* streams that are being opened at a time */
#define BATCH 256                /* of ready sockets */
#define RING 4096                /* more than can be out at once */
#define STALL_MICROSECONDS 5e6   /* without any delivery, while some are awaited */
#define OPEN_MICROSECONDS 60e6   /* for all streams together */
#define BINS 1000000             /* of ten microseconds each */

enum kind { SUBSCRIBER, PUBLISHER, READER, TIMER };

/* A stream. `matched` counts bytes of the status line that were right, then of the head's end. */
struct subscriber {
    enum kind kind;
    int fd;
    uint32_t next;    /* the first event that has not come */
    uint64_t ahead;   /* which of those from `next` on have come: publishers may overtake each other */
    uint32_t number;  /* of which so many digits are missing: */
    uint8_t missing;
    uint8_t matched;
    enum { CONNECTING, STATUS, HEAD, OPEN, CLOSED } state;
};

/* A connection for requests, one at a time. */
struct asker {
    enum kind kind;
    int fd;
    int busy;
    double due;
    size_t length;
    char answer[8192];
};

struct histogram {
    uint32_t bins[BINS];
    uint64_t count;
    double max;
};

static struct sockaddr_in address;
static const char *subscribe_path, *publish_path, *page_path, *page;
static struct subscriber *subscribers;
static struct asker publishers[PUBLISHERS], readers[READERS];
static struct { enum kind kind; } timer = {TIMER};
static uint32_t wanted, event_bytes, live, opened;
static int poll_fd, timer_fd;

/* Events published so far, and those everyone has had; for each that is out, since when and who waits. */
static uint32_t published, completed, waiting[RING];
static double sent_at[RING];
static double last_progress, last_completed;
static uint64_t delivered;
static uint64_t lost, repeated, closed_streams, publish_errors, page_errors, stalled;
static struct histogram each, last, pages;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static double processor_microseconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char text[300];
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *each = text; *each; each++)
        if (*each < ' ' || *each == '"' || *each == '\\') *each = '.';
    printf("{\"failure\": \"%s\"}\n", text);
    exit(1);
}

static void record(struct histogram *to, double microseconds) {
    long bin = (long)(microseconds / 10);
    to->bins[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
    to->count++;
    if (microseconds > to->max) to->max = microseconds;
}

static double percentile(const struct histogram *of, double percent) {
    uint64_t seen = 0, place = (uint64_t)(of->count * percent / 100);
    for (long bin = 0; bin < BINS; bin++)
        if ((seen += of->bins[bin]) > place) return bin / 100.0;
    return of->max / 1000;
}

static void print_histogram(const char *name, const struct histogram *of) {
    printf(", \"%s\": {\"count\": %lu, \"p50\": %.2f, \"p99\": %.2f, \"max\": %.2f}", name, (unsigned long)of->count,
           percentile(of, 50), percentile(of, 99), of->max / 1000);
}

/* -- connections ------------------------------------------------------------------------------- */

static int open_connection(void *owner, uint32_t events) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) fail("socket: %s", strerror(errno));
    /* Closed by a reset, a connection leaves no TIME_WAIT behind. */
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl: %s", strerror(errno));
    return fd;
}

static void send_all(int fd, const char *bytes, size_t length, const char *what) {
    if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) fail("sending %s: %s", what, strerror(errno));
}

static void open_asker(struct asker *asker, enum kind kind) {
    asker->kind = kind;
    asker->busy = 0;
    asker->length = 0;
    asker->fd = open_connection(asker, EPOLLIN);
    for (double until = now() + 10e6;;) {  /* its first request is sent at once, so it has to be connected */
        struct tcp_info info;
        socklen_t size = sizeof info;
        getsockopt(asker->fd, IPPROTO_TCP, TCP_INFO, &info, &size);
        if (info.tcpi_state == TCP_ESTABLISHED) return;
        if (now() > until || info.tcpi_state == TCP_CLOSE) fail("no connection to port %d", ntohs(address.sin_port));
        usleep(200);
    }
}

/* -- deliveries -------------------------------------------------------------------------------- */

/* One of those who waited for event `number` waits no more; `at` is when it came, or 0 if it never will. */
static void settle(uint32_t number, double at) {
    uint32_t place = number % RING;
    if (at > 0) record(&each, at - sent_at[place]);
    if (--waiting[place] == 0 && at > 0) record(&last, at - sent_at[place]);
    while (completed < published && waiting[completed % RING] == 0) completed++, last_completed = now();
}

static void receive(struct subscriber *who, uint32_t number, double at) {
    uint32_t ahead = number - who->next;
    if (number >= published || ahead >= WINDOW_MAX || who->ahead >> ahead & 1) {
        repeated++;
        return;
    }
    delivered++;
    last_progress = at;
    settle(number, at);
    for (who->ahead |= 1ull << ahead; who->ahead & 1; who->ahead >>= 1) who->next++;
}

static void scan(struct subscriber *who, const char *from, const char *end, double at) {
    while (from < end) {
        if (!who->missing) {
            if (!(from = memchr(from, '#', end - from))) return;
            from++;
            who->missing = 8;
            who->number = 0;
        }
        for (; who->missing && from < end; who->missing--) who->number = who->number * 10 + (*from++ - '0');
        if (!who->missing) receive(who, who->number, at);
        else return;
    }
}

/* The head of the answer; returns where the body begins, or NULL while it does not. */
static const char *scan_head(struct subscriber *who, const char *from, const char *end) {
    static const char status[] = "HTTP/1.1 200", blank[] = "\r\n\r\n";
    for (; from < end; from++) {
        if (who->state == STATUS) {
            if (*from != status[who->matched])
                fail("a subscription was answered with %.3s and not %s", from, status + who->matched);
            if (!status[++who->matched]) who->state = HEAD, who->matched = 0;
        } else {
            who->matched = *from == blank[who->matched] ? who->matched + 1 : *from == '\r';
            if (!blank[who->matched]) {
                who->state = OPEN;
                opened++;
                return from + 1;
            }
        }
    }
    return NULL;
}

static void lose(struct subscriber *who) {
    if (who->state != OPEN) fail("stream %u of %u was closed before it began", opened + 1, wanted);
    close(who->fd);
    who->state = CLOSED;
    closed_streams++;
    live--;
    for (; who->next < published; who->next++, who->ahead >>= 1)
        if (!(who->ahead & 1)) lost++, settle(who->next, 0);
}

static void on_subscriber(struct subscriber *who, uint32_t events) {
    static char buffer[65536];
    if (who->state == CLOSED) return;
    if (who->state == CONNECTING && events & EPOLLOUT && !(events & (EPOLLERR | EPOLLHUP))) {
        char request[512];
        int length = snprintf(request, sizeof request,
                              "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
                              "Cache-Control: no-cache\r\n\r\n", subscribe_path);
        who->state = STATUS;
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = who};
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, who->fd, &event);
        send_all(who->fd, request, length, "a subscription");
        return;
    }
    for (;;) {
        ssize_t count = recv(who->fd, buffer, sizeof buffer - 1, 0);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (count <= 0) {
            lose(who);
            return;
        }
        buffer[count] = 0;
        const char *from = who->state == OPEN ? buffer : scan_head(who, buffer, buffer + count);
        if (from) scan(who, from, buffer + count, now());
        /* Edge-triggered: after less than was asked for, more would be told of. A hangup is told of too. */
        if ((size_t)count < sizeof buffer - 1 && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;
    }
}

/* -- requests ---------------------------------------------------------------------------------- */

/* The body of a whole answer, with its status; NULL while it is not whole. */
static const char *whole_answer(struct asker *asker, int *status) {
    asker->answer[asker->length] = 0;
    char *end = strstr(asker->answer, "\r\n\r\n");
    if (!end) return NULL;
    *status = atoi(asker->answer + 9);
    char *body = end + 4, *field;
    *end = 0;
    size_t length = (field = strcasestr(asker->answer, "\r\ncontent-length:")) ? strtoul(field + 17, NULL, 10) : 0;
    int chunked = !field && strcasestr(asker->answer, "\r\ntransfer-encoding:") != NULL;
    *end = '\r';
    if (chunked) return strstr(body, "0\r\n\r\n") ? body : NULL;
    return asker->length - (body - asker->answer) >= length ? body : NULL;
}

static void on_asker(struct asker *asker) {
    uint64_t *errors = asker->kind == PUBLISHER ? &publish_errors : &page_errors;
    ssize_t count = recv(asker->fd, asker->answer + asker->length, sizeof asker->answer - 1 - asker->length, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {  /* between requests a server may close */
        *errors += asker->busy;
        close(asker->fd);
        open_asker(asker, asker->kind);
        return;
    }
    asker->length += count;
    int status;
    const char *body = whole_answer(asker, &status);
    if (!body) return;
    if (asker->kind == READER) {
        record(&pages, now() - asker->due);
        if (status != 200 || !strstr(body, page)) page_errors++;
    } else if (status < 200 || status > 299) {
        publish_errors++;
    }
    asker->busy = 0;
    asker->length = 0;
}

static void ask_for_page(struct asker *asker, double due) {
    char request[512];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", page_path);
    asker->due = due;
    asker->busy = 1;
    send_all(asker->fd, request, length, "a request for the page");
}

static void publish(struct asker *asker) {
    static char request[1 << 17];
    int length = snprintf(request, sizeof request,
                          "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"
                          "Content-Length: %u\r\n\r\n", publish_path, event_bytes);
    memset(request + length, 'x', event_bytes - 9);
    length += event_bytes - 9;
    length += sprintf(request + length, "#%08u", published);
    waiting[published % RING] = live;
    sent_at[published % RING] = last_progress = now();
    published++;
    asker->busy = 1;
    send_all(asker->fd, request, length, "an event");
}

/* -- what is run ------------------------------------------------------------------------------- */

/* Wake up at `when` at the latest; a time that has come wakes up at once. */
static void wake_at(double when) {
    static double set;
    if (when == set) return;
    set = when;
    struct itimerspec time = {.it_value = {(time_t)(when / 1e6), (long)((when - (time_t)(when / 1e6) * 1e6) * 1e3)}};
    if (time.it_value.tv_nsec == 0) time.it_value.tv_nsec = 1;
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &time, NULL);
}

static void turn(int milliseconds) {
    struct epoll_event ready[BATCH];
    int count = epoll_wait(poll_fd, ready, BATCH, milliseconds);
    for (int i = 0; i < count; i++) {
        uint64_t ticks;
        enum kind kind = *(enum kind *)ready[i].data.ptr;
        if (kind == SUBSCRIBER) on_subscriber(ready[i].data.ptr, ready[i].events);
        else if (kind == TIMER) (void)!read(timer_fd, &ticks, sizeof ticks);
        else on_asker(ready[i].data.ptr);
    }
}

static void subscribe_all(void) {
    double begun = now();
    for (uint32_t asked = 0; opened < wanted;) {
        while (asked < wanted && asked - opened < OPENING) {
            subscribers[asked] = (struct subscriber){.kind = SUBSCRIBER, .state = CONNECTING};
            subscribers[asked].fd = open_connection(&subscribers[asked], EPOLLOUT);
            asked++;
        }
        turn(100);
        if (now() - begun > OPEN_MICROSECONDS) fail("only %u of %u streams were opened in time", opened, wanted);
    }
    live = wanted;
    printf("{\"subscribers\": %u, \"seconds\": %.2f}\n", opened, (now() - begun) / 1e6);
}

static void run(uint32_t window, double gap, double warm, double length, uint32_t events, double page_rate) {
    memset(&each, 0, sizeof each);
    memset(&last, 0, sizeof last);
    memset(&pages, 0, sizeof pages);
    lost = repeated = closed_streams = publish_errors = page_errors = stalled = 0;
    double start = now(), end = start + length, from = 0, until = 0, due = start, processor = 0;
    uint64_t delivered_before = delivered, delivered_from = 0, delivered_until = 0;
    uint32_t first = published;
    last_progress = start;
    last_completed = 0;

    for (;;) {
        double at = now(), wake = end;
        if (!from && at >= start + warm) from = at, delivered_from = delivered, processor = processor_microseconds();
        if (!until && at >= end) {
            until = at, delivered_until = delivered, processor = processor_microseconds() - processor;
        }
        int over = at >= end || (events && published - first >= events) || !live;
        int asking = 0, publishing = 0;
        for (int i = 0; i < PUBLISHERS; i++) {
            int more = !over && published - completed < window && !(events && published - first >= events);
            if (more && at < last_completed + gap) wake = last_completed + gap;
            else if (more && !publishers[i].busy) publish(&publishers[i]);
            publishing += publishers[i].busy;
        }
        uint32_t out = published - completed;
        for (int i = 0; i < READERS; i++) {
            if (page_rate > 0 && !over && !readers[i].busy && due <= at) {
                ask_for_page(&readers[i], due);
                due += 1e6 / page_rate;
            }
            asking += readers[i].busy;
        }
        if (over && !out && !publishing && !asking) break;
        if ((out || publishing || asking) && at - last_progress > STALL_MICROSECONDS) {
            stalled = 1;
            break;
        }
        if (over) wake = at + 50e3;
        else if (page_rate > 0 && asking < READERS && due < wake) wake = due;
        wake_at(wake);
        turn(1000);
    }
    if (!until) until = now(), delivered_until = delivered, processor = processor_microseconds() - processor;
    for (uint32_t number = completed; number < published; number++) lost += waiting[number % RING];

    double measured = until > from ? until - from : 1;
    printf("{\"events\": %u, \"deliveries\": %lu, \"rate\": %.1f, \"load_cpu_share\": %.3f", published - first,
           (unsigned long)(delivered - delivered_before), (delivered_until - delivered_from) * 1e6 / measured,
           processor / measured);
    print_histogram("each_ms", &each);
    print_histogram("last_ms", &last);
    print_histogram("page_ms", &pages);
    printf(", \"errors\": {\"lost\": %lu, \"repeated\": %lu, \"closed\": %lu, \"publish\": %lu, \"page\": %lu, "
           "\"stalled\": %lu}}\n", (unsigned long)lost, (unsigned long)repeated, (unsigned long)closed_streams,
           (unsigned long)publish_errors, (unsigned long)page_errors, (unsigned long)stalled);
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count != 9) fail("eight arguments are needed");
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    wanted = strtoul(words[2], NULL, 10);
    event_bytes = strtoul(words[3], NULL, 10);
    if (wanted < 1 || wanted > 1000000 || event_bytes < 10 || event_bytes > 100000) fail("a number is out of bounds");
    alarm(atoi(words[4]));
    subscribe_path = words[5], publish_path = words[6], page_path = words[7], page = words[8];

    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &timer};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer_fd, &event);
    subscribers = calloc(wanted, sizeof *subscribers);
    if (!subscribers) fail("no memory");
    subscribe_all();
    for (int i = 0; i < PUBLISHERS; i++) open_asker(&publishers[i], PUBLISHER);
    for (int i = 0; i < READERS; i++) open_asker(&readers[i], READER);

    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        unsigned window, events;
        double gap, warm, length, page_rate;
        if (sscanf(line, "run %u %lf %lf %lf %u %lf", &window, &gap, &warm, &length, &events, &page_rate) != 6 ||
            window < 1 || window > WINDOW_MAX)
            fail("not understood");
        run(window, gap, warm * 1e3, length * 1e3, events, page_rate);
    }
    return 0;
}
