/* Tab: commands, settings, and files behind /save and /load. */
#include "coordinator/chat/complete.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/chat/chat.h"

/* Names that may be meant: how many, what the first says, and how much of it all of them share. */
struct names {
    char first[NAME_MAX + 2];
    size_t same, count;
};

static void add_name(struct names *x, const char *name, bool folder)
{
    if (!x->count++) x->same = (size_t)snprintf(x->first, sizeof x->first, "%s%s", name, folder ? "/" : "");
    while (strncmp(name, x->first, x->same) != 0 && x->same) x->same--;
}

/* Fills in what is certain behind the n bytes that are there. False: nothing is, the names are to be shown. */
static bool fill_in(EditLine *edit, const struct names *x, size_t n, const char *end, unsigned char *result)
{
    char more[sizeof x->first + 2];

    *result = CC_ERROR;
    if (!x->count) return true;
    snprintf(more, sizeof more, "%.*s%s", (int)(x->same - n), x->first + n, x->count == 1 ? end : "");
    if (!*more) return x->count == 1;
    if (el_insertstr(edit, more)) return false; /* no text of this locale */
    *result = CC_REFRESH;
    return true;
}

/* What begins with the word before the cursor: shown where there are several, filled in as far as they agree. */
static unsigned char complete(EditLine *edit, const char *word, size_t n, const char *(*name)(size_t i))
{
    struct names x = {0};
    unsigned char result;

    for (size_t i = 0; name(i); i++)
        if (!strncmp(name(i), word, n)) add_name(&x, name(i), false);
    if (fill_in(edit, &x, n, " ", &result)) return result;
    fputc('\n', stderr);
    for (size_t i = 0; name(i); i++)
        if (!strncmp(name(i), word, n)) fprintf(stderr, "%s  ", name(i));
    fputc('\n', stderr);
    return CC_REDISPLAY;
}

/* The same with the files of a folder. Names go to stderr, which lets nothing through that a terminal would obey. */
static unsigned char complete_file(EditLine *edit, const char *word, size_t bytes)
{
    char path[PATH_MAX], full[PATH_MAX + NAME_MAX];
    const char *home = getenv("HOME"), *slash = memrchr(word, '/', bytes);
    size_t head = slash ? (size_t)(slash - word) + 1 : 0, n = bytes - head;
    bool from_home = home && head > 1 && word[0] == '~' && word[1] == '/';
    unsigned char result = CC_ERROR;
    struct names x = {0};
    struct dirent *f;
    struct stat st;
    DIR *d;

    if ((size_t)snprintf(path, sizeof path, "%s%.*s",
                         from_home ? home
                         : head    ? ""
                                   : "./",
                         (int)(head - from_home), word + from_home) >= sizeof path)
        return CC_ERROR;
    if (!(d = opendir(path))) return CC_ERROR;
    for (int show = 0; show < 2; show++) {
        rewinddir(d);
        while ((f = readdir(d))) {
            if (strncmp(f->d_name, word + head, n) || (!n && f->d_name[0] == '.')) continue;
            snprintf(full, sizeof full, "%s%s", path, f->d_name);
            if (show)
                fprintf(stderr, "%s  ", f->d_name);
            else
                add_name(&x, f->d_name, !stat(full, &st) && S_ISDIR(st.st_mode));
        }
        if (show || fill_in(edit, &x, n, "", &result)) break;
        fputc('\n', stderr);
        result = CC_REDISPLAY;
    }
    closedir(d);
    if (result == CC_REDISPLAY) fputc('\n', stderr);
    return result;
}

unsigned char chat_complete(EditLine *edit, int key)
{
    const LineInfo *line = el_line(edit);
    size_t n = (size_t)(line->cursor - line->buffer);

    (void)key;
    if (n > 5 && (!strncmp(line->buffer, "/save ", 6) || !strncmp(line->buffer, "/load ", 6)))
        return complete_file(edit, line->buffer + 6, n - 6);
    if (n > 4 && !strncmp(line->buffer, "/set ", 5) && !memchr(line->buffer + 5, ' ', n - 5))
        return complete(edit, line->buffer + 5, n - 5, chat_setting_name);
    if (n && line->buffer[0] == '/' && !memchr(line->buffer, ' ', n))
        return complete(edit, line->buffer + 1, n - 1, chat_command_name);
    return CC_ERROR;
}
