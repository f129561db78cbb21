#include "coordinator/serve/http_checks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool check_address_local(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* Bytes of a host's name before its port: "[::1]:80", "localhost:80". */
static size_t name_bytes(const char *host)
{
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;

    return end ? (size_t)(end + 1 - host) : strcspn(host, ":/");
}

static bool is(const char *host, size_t n, const char *name)
{
    return strlen(name) == n && !strncasecmp(host, name, n);
}

static bool local_name(const char *host)
{
    size_t n = name_bytes(host);
    char number[16];
    struct in_addr a;

    if (host[n] && (host[n] != ':' || host[n + 1 + strspn(host + n + 1, "0123456789")])) return false;
    if (is(host, n, "localhost") || is(host, n, "[::1]")) return true;
    if (n >= sizeof number) return false;
    memcpy(number, host, n);
    number[n] = 0;
    return inet_pton(AF_INET, number, &a) == 1 && ntohl(a.s_addr) >> 24 == 127;
}

bool check_host_local(const char *host, const char *own)
{
    return !host || local_name(host) || is(host, name_bytes(host), own);
}

static const char *behind_scheme(const char *origin)
{
    return !strncasecmp(origin, "http://", 7) ? origin + 7 : !strncasecmp(origin, "https://", 8) ? origin + 8 : NULL;
}

bool check_origin_local(const char *origin)
{
    const char *host = behind_scheme(origin);

    return host && local_name(host);
}

bool check_origin(const char *origin, const char *host)
{
    const char *at = behind_scheme(origin);

    return check_origin_local(origin) || (at && host && !strcasecmp(at, host));
}

static bool equal(const char *given, const char *key)
{
    size_t n = strlen(given), m = strlen(key);
    unsigned differ = (n ^ m) != 0;

    for (size_t i = 0; i < n; i++) differ |= (unsigned char)given[i] ^ (unsigned char)(m ? key[i % m] : 0);
    return !differ;
}

bool check_key(char **key, size_t keys, const char *authorization, const char *api_key)
{
    const char *given = authorization && !strncasecmp(authorization, "Bearer ", 7) ? authorization + 7 : api_key;
    bool good = false;

    for (size_t i = 0; given && i < keys; i++) good |= equal(given, key[i]);
    return good;
}

bool check_method(const char *methods, const char *method)
{
    size_t n;

    if (!strcmp(method, "HEAD")) method = "GET";
    n = strlen(method);
    for (const char *p = methods; *p; p += strspn(p, ", ")) {
        size_t m = strcspn(p, ", ");

        if (m == n && !strncmp(p, method, n)) return true;
        p += m;
    }
    return false;
}
