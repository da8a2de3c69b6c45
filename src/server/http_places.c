/*
 * http_places.c - who has a place, and who gives way when all are taken.
 *
 * A connection that has a request under way keeps its place. The others give way, the longest
 * first: one that is only being closed, then one that is idle or whose head is not whole, then one
 * whose body takes its time. When none does, and when one address has all that an address may have,
 * a newcomer gets one of a few spare places, where only vital requests (is it alive? what does it
 * count?) are answered; there too the oldest that has not asked yet gives way.
 */
#include "base/clock.h"
#include "base/hash_map.h"
#include "server/http_connection.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum { SPARE_PLACES = 64, ADDRESS_V6_PREFIX = 8 };

/* What is younger has hardly been heard. */
static const int64_t head_patience_ns = 100000000, body_patience_ns = 1000000000;

/* --- addresses --- */

struct http_client {
    LIST_ENTRY(http_client) link; /* in its bucket */
    unsigned char key[HTTP_CLIENT_KEY_BYTES];
    bool is_own;        /* an address of this machine alone */
    size_t connections; /* never 0 */
};

/* IPv4 as ::ffff:a.b.c.d; of IPv6 the network, whose owner has as many addresses as it likes. */
static bool read_key(const struct sockaddr *address, unsigned char *key) {
    static const unsigned char v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
    static const unsigned char own_v6[16] = {[15] = 1};
    struct sockaddr_in6 v6;
    memset(key, 0, HTTP_CLIENT_KEY_BYTES);
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        memcpy(key, v4_prefix, sizeof v4_prefix);
        memcpy(key + sizeof v4_prefix, &v4.sin_addr, sizeof v4.sin_addr);
        return key[sizeof v4_prefix] == 127;
    }
    if (address->sa_family != AF_INET6) {
        return true;
    }
    memcpy(&v6, address, sizeof v6);
    bool is_v4 = memcmp(&v6.sin6_addr, v4_prefix, sizeof v4_prefix) == 0;
    bool is_own = memcmp(&v6.sin6_addr, own_v6, sizeof own_v6) == 0;
    memcpy(key, &v6.sin6_addr, is_v4 || is_own ? HTTP_CLIENT_KEY_BYTES : ADDRESS_V6_PREFIX);
    return is_own || (is_v4 && key[sizeof v4_prefix] == 127);
}

struct http_client *http_client_enter(struct http_server *server, const struct sockaddr *address) {
    unsigned char key[HTTP_CLIENT_KEY_BYTES];
    bool is_own = read_key(address, key);
    uint64_t hash = hash_bytes(key, sizeof key, server->client_seed);
    struct http_client_list *bucket = &server->clients[hash % HTTP_CLIENT_BUCKETS];
    struct http_client *client;
    LIST_FOREACH(client, bucket, link) {
        if (memcmp(client->key, key, sizeof key) == 0) {
            client->connections++;
            return client;
        }
    }
    client = calloc(1, sizeof *client);
    if (client != NULL) {
        memcpy(client->key, key, sizeof key);
        client->is_own = is_own;
        client->connections = 1;
        LIST_INSERT_HEAD(bucket, client, link);
    }
    return client;
}

void http_client_leave(struct http_client *client) {
    client->connections--;
    if (client->connections == 0) {
        LIST_REMOVE(client, link);
        free(client);
    }
}

uint64_t http_connection_client(const struct http_connection *connection) {
    const struct http_client *client = connection->client;
    return client->is_own ? (uint64_t)(uintptr_t)connection : (uint64_t)(uintptr_t)client;
}

/* The newcomer is counted already. */
static bool has_too_many(const struct http_server *server, const struct http_client *client) {
    const struct http_server_options *options = &server->options;
    return options->max_per_address != 0 && client->connections > options->max_per_address &&
           (!client->is_own || options->bounds_own_address);
}

/* --- giving way --- */

static void give_way(struct http_connection *connection) {
    struct http_server *server = connection->server;
    if (server->handler.displaced != NULL) {
        server->handler.displaced(server->handler.context,
                                  http_connection_state_name(connection->state));
    }
    http_connection_free(connection, HTTP_GAVE_WAY);
}

/* The longest in that state, for so long at least, of one client or of all (NULL). Those in spare
 * places are no help: they take nobody's. */
static struct http_connection *longest(struct http_server *server, enum connection_state state,
                                       int64_t least_ns, const struct http_client *client) {
    int64_t latest = clock_now_ns() - least_ns;
    struct http_connection *connection;
    TAILQ_FOREACH(connection, &server->connections[state], link) {
        if (connection->since_ns > latest) {
            return NULL;
        }
        if (!connection->is_spare && (client == NULL || connection->client == client) &&
            !(state == CONNECTION_BODY && connection->is_paused)) {
            return connection;
        }
    }
    return NULL;
}

/* Idle or in its head: a newcomer is the one until it is the other. */
static struct http_connection *longest_silent(struct http_server *server, int64_t least_ns,
                                              const struct http_client *client) {
    struct http_connection *idle = longest(server, CONNECTION_IDLE, least_ns, client);
    struct http_connection *head = longest(server, CONNECTION_HEAD, least_ns, client);
    return idle == NULL || (head != NULL && head->since_ns < idle->since_ns) ? head : idle;
}

static bool make_room(struct http_server *server, const struct http_client *client) {
    struct http_connection *gives = longest(server, CONNECTION_LINGERING, 0, client);
    if (gives == NULL) {
        gives = longest_silent(server, head_patience_ns, client);
    }
    if (gives == NULL) {
        gives = longest(server, CONNECTION_BODY, body_patience_ns, client);
    }
    if (gives == NULL) {
        gives = longest_silent(server, 0, client);
    }
    if (gives != NULL) {
        give_way(gives);
    }
    return gives != NULL;
}

static bool make_spare_room(struct http_server *server) {
    struct http_connection *oldest;
    TAILQ_FOREACH(oldest, &server->spares, spare_link) {
        if (oldest->state == CONNECTION_IDLE || oldest->state == CONNECTION_HEAD ||
            oldest->state == CONNECTION_LINGERING) {
            give_way(oldest);
            return true;
        }
    }
    return false;
}

enum http_place http_place_find(struct http_server *server, const struct http_client *client) {
    size_t taken = server->connection_count - server->spare_count;
    bool is_bounded = has_too_many(server, client);
    if (is_bounded ? make_room(server, client)
                   : taken < server->options.max_connections || make_room(server, NULL)) {
        return HTTP_PLACE_OWN;
    }
    if (server->spare_count < SPARE_PLACES || make_spare_room(server)) {
        return is_bounded ? HTTP_PLACE_SPARE_OF_ADDRESS : HTTP_PLACE_SPARE;
    }
    if (server->handler.displaced != NULL) {
        server->handler.displaced(server->handler.context, "new");
    }
    return HTTP_PLACE_NONE;
}
