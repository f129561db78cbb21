#include "coordinator/text/mistaken.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "coordinator/text/lfs.h"
#include "proto/base/file.h"

static bool begins(const char *head, size_t bytes, const char *with, size_t n)
{
    return bytes >= n && !memcmp(head, with, n);
}

/* ---- other formats ---- */

static int other_format(const char *path, const char *head, size_t bytes, struct error *e)
{
    static const struct {
        const char *magic;
        size_t bytes;
        const char *what, *then;
    } known[] = {
        {"GGUF", 4, "a GGUF file", "where it is the model, give it itself, or its folder without config.json"},
        {"ggjt", 4, "a GGML file of 2023", "take the model's folder of safetensors files"},
        {"tjgg", 4, "a GGML file of 2023", "take the model's folder of safetensors files"},
        {"lmgg", 4, "a GGML file of 2023", "take the model's folder of safetensors files"},
        {"PK\3\4", 4, "a zip archive (PyTorch's own format is one)",
         "it holds a program and not data alone: take or convert to safetensors, or unpack it where it is an archive"},
        {"\x80\2", 2, "a Python pickle", "it is a program and not data: take or convert to safetensors"},
        {"\x80\4", 2, "a Python pickle", "it is a program and not data: take or convert to safetensors"},
        {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file of TensorFlow", "take or convert to safetensors"},
        {"\x1f\x8b", 2, "a gzip archive", "unpack it first"},
        {"BZh", 3, "a bzip2 archive", "unpack it first"},
        {"\xfd\x37zXZ", 5, "an xz archive", "unpack it first"},
        {"\x28\xb5\x2f\xfd", 4, "a zstd archive", "unpack it first"},
        {"7z\xbc\xaf\x27\x1c", 6, "a 7-Zip archive", "unpack it first"},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins(head, bytes, known[i].magic, known[i].bytes))
            return error_set(e, EINVAL, "%s: %s: %s", path, known[i].what, known[i].then);
    if (bytes >= 262 && begins(head + 257, bytes - 257, "ustar", 5))
        return error_set(e, EINVAL, "%s: a tar archive: unpack it first", path);
    return 0;
}

/* ---- what servers say ---- */

/* Behind a byte order mark and white space. */
static size_t text_start(const char *head, size_t bytes)
{
    size_t i = begins(head, bytes, "\xef\xbb\xbf", 3) ? 3 : 0;

    while (i < bytes && strchr(" \t\r\n", head[i])) i++;
    return i;
}

static bool says(const char *s, size_t bytes, const char *word)
{
    size_t n = strlen(word);

    return bytes >= n && !strncasecmp(s, word, n);
}

/* The first line, without what a terminal would obey. */
static const char *first_line(char *out, size_t room, const char *s, size_t bytes)
{
    size_t n = 0;

    for (; n < bytes && n < room - 1 && s[n] && s[n] != '\n' && s[n] != '\r'; n++)
        out[n] = (unsigned char)s[n] < ' ' || (unsigned char)s[n] >= 127 ? '?' : s[n];
    out[n] = 0;
    return out;
}

static int server_text(const char *path, const char *head, size_t bytes, struct error *e)
{
    static const char *const pages[] = {"<!doctype html", "<html", "<head", "<body"};
    static const char *const messages[] = {"<?xml",
                                           "<error",
                                           "{\"error\"",
                                           "{\"message\"",
                                           "access to model",
                                           "access denied",
                                           "entry not found",
                                           "repository not found",
                                           "repo not found",
                                           "file not found",
                                           "not found",
                                           "invalid username or password",
                                           "invalid credentials",
                                           "unauthorized",
                                           "forbidden",
                                           "too many requests",
                                           "internal server error"};
    size_t at = text_start(head, bytes);
    const char *s = head + at;
    char line[80];

    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (says(s, bytes - at, pages[i]))
            return error_set(e, EINVAL,
                             "%s: an HTML page lies there instead of the file: the server answered with it, often "
                             "because the model asks for a login (hf auth login) and its licence to be accepted; "
                             "download the file again",
                             path);
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        if (says(s, bytes - at, messages[i]))
            return error_set(e, EINVAL,
                             "%s: a server's message lies there instead of the file (\"%s\"): download the file again",
                             path, first_line(line, sizeof line, s, bytes - at));
    return 0;
}

static bool all_zero(const char *head, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (head[i]) return false;
    return true;
}

int mistaken_look(const char *path, const char *head, size_t head_bytes, uint64_t file_bytes, struct error *e)
{
    struct lfs_pointer pointer;
    int rc;

    if (!file_bytes) return error_set(e, EINVAL, "%s: the file is empty: download it again", path);
    if (head_bytes == file_bytes && lfs_pointer_parse(&pointer, head, head_bytes))
        return lfs_pointer_error(e, path, &pointer);
    if (head_bytes >= 8 && all_zero(head, head_bytes))
        return error_set(e, EINVAL,
                         "%s: it begins with zeros: a download reserved its %llu bytes and did not fill them; download "
                         "it again",
                         path, (unsigned long long)file_bytes);
    rc = server_text(path, head, head_bytes, e);
    return rc ? rc : other_format(path, head, head_bytes, e);
}

int mistaken_file(const char *path, struct error *e)
{
    char head[MISTAKEN_HEAD_BYTES];
    struct stat st;
    size_t n;
    int fd, rc = file_open(path, &fd, &st, e);

    if (rc) return rc;
    n = (size_t)st.st_size < sizeof head ? (size_t)st.st_size : sizeof head;
    rc = file_read_at(fd, head, n, 0);
    close(fd);
    if (rc) return error_set(e, -rc, "%s: %s", path, error_name(-rc));
    return mistaken_look(path, head, n, (uint64_t)st.st_size, e);
}
