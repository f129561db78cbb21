/* Who may ask: names, keys and origins of requests. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

bool check_address_local(const struct sockaddr *a);
/* A Host header that names this machine's loopback, or is `own`, with a port or without. A page elsewhere that has its name
 * point here (DNS rebinding) sends its own. */
bool check_host_local(const char *host, const char *own);
/* http(s)://localhost and its numbers, any port. */
bool check_origin_local(const char *origin);
/* The same, or the page lies at this very host. */
bool check_origin(const char *origin, const char *host);
/* Authorization: Bearer KEY, or x-api-key: KEY. The time that it takes does not tell how much of it is right. */
bool check_key(char **key, size_t keys, const char *authorization, const char *api_key);
bool check_method(const char *methods, const char *method); /* is it among them? "GET, POST"; HEAD is a GET */
