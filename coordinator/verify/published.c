#include "coordinator/verify/published.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "coordinator/source/tensors.h"
#include "coordinator/verify/verify.h"
#include "proto/base/file.h"

/* "FILE.sha256" */
static bool is_of_one_file(const char *name)
{
    return strlen(name) > strlen(".sha256") && tensors_name_ends(name, ".sha256");
}

bool published_is_list(const char *name)
{
    static const char *const lists[] = {"sha256sums",       "sha256sums.txt", "sha256sum", "sha256sum.txt",
                                        "checksums.sha256", "checksums.txt",  "sha256.txt"};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (!strcasecmp(name, lists[i])) return true;
    return is_of_one_file(name);
}

/* n hexadecimal digits and no more of them; out: n + 1 bytes, lower case. */
static bool take_hex(const char *s, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        if (!isxdigit((unsigned char)s[i])) return false;
        out[i] = (char)tolower((unsigned char)s[i]);
    }
    out[n] = 0;
    return !isxdigit((unsigned char)s[n]);
}

/* sha256sum writes a backslash before a line whose name holds one, or a newline. */
static void unescape(char *name)
{
    char *to = name;

    for (const char *from = name; *from; from++) {
        if (*from == '\\' && (from[1] == 'n' || from[1] == '\\' || from[1] == 'r')) {
            from++;
            *to++ = *from == 'n' ? '\n' : *from == 'r' ? '\r' : '\\';
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
}

static bool parse_bsd(char *line, char hex[65], char **name)
{
    char *end;

    if (strncmp(line, "SHA256 (", 8)) return false;
    end = strstr(line, ") = ");
    if (!end || !take_hex(end + 4, 64, hex)) return false;
    *end = 0;
    *name = line + 8;
    return true;
}

bool published_parse(char *line, char hex[65], char **name)
{
    bool escaped = *line == '\\';
    char *s = line + escaped;

    line[strcspn(line, "\r\n")] = 0;
    if (parse_bsd(line, hex, name)) return true;
    if (!take_hex(s, 64, hex)) return false;
    s += 64;
    if (*s == ' ' && (s[1] == ' ' || s[1] == '*')) { /* as sha256sum writes it: all that follows is the name */
        s += 2;
    } else {
        if (*s && *s != ' ' && *s != '\t') return false;
        while (*s == ' ' || *s == '\t') s++;
    }
    if (!strncmp(s, "./", 2)) s += 2;
    if (escaped) unescape(s);
    *name = s;
    return true;
}

/* ---- sums into items ---- */

static int add(struct verify_item *x, const char *source, const char *hex, bool git)
{
    struct verify_sum *grown = reallocarray(x->sum, x->sums + 1, sizeof *grown), s = {.git = git};

    if (!grown) return -ENOMEM;
    x->sum = grown;
    s.source = strdup(source);
    if (!s.source) return -ENOMEM;
    snprintf(s.hex, sizeof s.hex, "%s", hex);
    x->sum[x->sums++] = s;
    return 0;
}

/* An etag or a blob's name: 64 digits are a SHA-256, 40 a git blob. Anything else says nothing. */
static int add_etag(struct verify_item *x, const char *source, const char *text)
{
    char hex[65];

    if (take_hex(text, 64, hex) && !text[64]) return add(x, source, hex, false);
    if (take_hex(text, 40, hex) && !text[40]) return add(x, source, hex, true);
    return 0;
}

static int read_list(struct verify *v, const char *list)
{
    bool of_one_file = is_of_one_file(list);
    size_t room = 0;
    char path[2 * PATH_MAX], hex[65], *line = NULL, *name;
    struct error why;
    FILE *f;
    int rc = 0;

    snprintf(path, sizeof path, "%s/%s", v->folder, list);
    if (!(f = file_stream(path, &why))) return verify_note(v, "its sums are not compared: %s", why.text);
    while (!rc && getline(&line, &room, f) >= 0) {
        struct verify_item *x;
        char own[NAME_MAX + 1];

        if (!published_parse(line, hex, &name)) continue;
        if (of_one_file && (!*name || !strcmp(name, "-"))) { /* the sum alone, or that of a pipe */
            snprintf(own, sizeof own, "%.*s", (int)(strlen(list) - strlen(".sha256")), list);
            name = own;
        }
        x = verify_item_named(v, name);
        if (x) rc = add(x, list, hex, false);
    }
    free(line);
    fclose(f);
    return rc;
}

static int read_lists(struct verify *v)
{
    DIR *d = opendir(v->folder);
    struct dirent *x;
    int rc = 0;

    while (d && !rc && (x = readdir(d)))
        if (published_is_list(x->d_name)) rc = read_list(v, x->d_name);
    if (d) closedir(d);
    return rc;
}

static int read_metadata(struct verify *v, struct verify_item *x)
{
    char path[2 * PATH_MAX], source[NAME_MAX + 64], line[256];
    struct error none;
    FILE *f;
    int rc = 0;

    snprintf(source, sizeof source, ".cache/huggingface/download/%s.metadata", x->name);
    snprintf(path, sizeof path, "%s/%s", v->folder, source);
    if (!(f = file_stream(path, &none))) return 0;
    for (int i = 0; i < 2; i++)
        if (!fgets(line, sizeof line, f)) line[0] = 0;
    if (line[0]) {
        line[strcspn(line, "\r\n")] = 0;
        rc = add_etag(x, source, line);
    }
    fclose(f);
    return rc;
}

static int read_link(struct verify_item *x)
{
    char target[PATH_MAX];
    ssize_t n = readlink(x->path, target, sizeof target - 1);
    const char *blob;

    if (n < 0) return 0;
    target[n] = 0;
    blob = strrchr(target, '/');
    if (!blob || blob - target < 5 || strncmp(blob - 5, "blobs", 5)) return 0;
    return add_etag(x, "the name of its blob", blob + 1);
}

int verify_published(struct verify *v, struct error *e)
{
    int rc = read_lists(v);

    for (size_t i = 0; i < v->items && !rc; i++) {
        rc = read_metadata(v, &v->item[i]);
        if (!rc) rc = read_link(&v->item[i]);
    }
    return rc ? error_set(e, ENOMEM, "%s: no memory for the published sums", v->folder) : 0;
}
