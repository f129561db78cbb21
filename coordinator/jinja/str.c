/* The methods of strings: searching, cutting and joining.  Indices are in code points. */
#include "coordinator/jinja/str.h"

static struct jval part(struct jinja_run *r, struct jval self, size_t from, size_t n)
{
    struct jval v = jval_str(r, self.s->s + from, n);
    v.safe = self.safe;
    return v;
}

static struct jstr *want_str(struct jinja_run *r, struct jval v, const char *what)
{
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    if (v.kind != J_STR) jrun_fail(r, "%s must be a str, not %s", what, jval_type(v));
    return v.s;
}

/* -- searching -- */

struct window {
    const char *s;
    size_t from, n; /* bytes */
    bool inside;    /* start <= length and start <= end */
};

static int64_t clip(int64_t i, int64_t chars)
{
    return i < 0 ? (i + chars < 0 ? 0 : i + chars) : i;
}

static struct window window_of(struct jinja_run *r, struct jstr *s, struct jval start, struct jval end)
{
    int64_t chars = (int64_t)jstr_chars(r, s);
    int64_t from = clip(jarg_int(r, start, 0, "start"), chars), to = clip(jarg_int(r, end, chars, "end"), chars);
    if (to > chars) to = chars;
    if (from > to) return (struct window){s->s, 0, 0, false};
    size_t a = jstr_offset(r, s, (size_t)from), b = jstr_offset(r, s, (size_t)to);
    return (struct window){s->s + a, a, b - a, true};
}

static const char *find_last(const char *s, size_t n, const struct jstr *what)
{
    if (what->n > n) return NULL;
    for (const char *p = s + (n - what->n);; p--) {
        if (!memcmp(p, what->s, what->n)) return p;
        if (p == s) return NULL;
    }
}

static struct jval find(struct jinja_run *r, struct jval self, struct jargs *a, bool last, bool must)
{
    struct jstr *what = want_str(r, a->v[0], "what to find");
    struct window w = window_of(r, self.s, a->v[1], a->v[2]);
    jrun_charge(r, last ? w.n / 4 : w.n / 64);
    const char *at = !w.inside ? NULL : last ? find_last(w.s, w.n, what) : memmem(w.s, w.n, what->s, what->n);
    if (!at && must) jrun_fail(r, "substring not found");
    if (!at) return jval_int(-1);
    struct jstr before = {self.s->s, (size_t)(at - self.s->s), SIZE_MAX};
    return jval_size(r, jstr_chars(r, &before));
}

static struct jval str_find(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return find(r, self, a, false, false);
}
static struct jval str_rfind(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return find(r, self, a, true, false);
}
static struct jval str_index(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return find(r, self, a, false, true);
}
static struct jval str_rindex(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return find(r, self, a, true, true);
}

static struct jval str_count(struct jinja_run *r, struct jval self, struct jargs *a)
{
    struct jstr *what = want_str(r, a->v[0], "what to count");
    struct window w = window_of(r, self.s, a->v[1], a->v[2]);
    if (!w.inside) return jval_int(0);
    if (!what->n) {
        struct jstr inside = {w.s, w.n, SIZE_MAX};
        return jval_size(r, jstr_chars(r, &inside) + 1);
    }
    size_t n = 0;
    jrun_charge(r, w.n / 16);
    for (const char *p = w.s, *end = w.s + w.n; (p = memmem(p, (size_t)(end - p), what->s, what->n)); p += what->n) n++;
    return jval_size(r, n);
}

static bool affix_is(struct window w, const struct jstr *affix, bool end)
{
    return w.inside && affix->n <= w.n && !memcmp(end ? w.s + w.n - affix->n : w.s, affix->s, affix->n);
}

static struct jval has_affix(struct jinja_run *r, struct jval self, struct jargs *a, bool end)
{
    struct window w = window_of(r, self.s, a->v[1], a->v[2]);
    jrun_charge_bytes(r, w.n < 64 ? w.n : 64);
    if (a->v[0].kind != J_TUPLE)
        return jval_bool(affix_is(w, want_str(r, a->v[0], end ? "the suffix" : "the prefix"), end));
    const struct jseq *q = a->v[0].q;
    bool found = false;
    for (size_t i = 0; !found && i < q->n; i++) found = affix_is(w, want_str(r, q->v[i], "each affix"), end);
    return jval_bool(found);
}

static struct jval str_startswith(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return has_affix(r, self, a, false);
}
static struct jval str_endswith(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return has_affix(r, self, a, true);
}

/* -- cutting -- */

static bool in_set(uint32_t c, const struct jstr *set)
{
    if (!set) return jchar_space(c);
    for (size_t at = 0; at < set->n;)
        if (jutf8_next(set->s, set->n, &at) == c) return true;
    return false;
}

/* set NULL: white space. */
struct jval jstr_strip(struct jinja_run *r, struct jval self, const struct jstr *set, bool left, bool right)
{
    const char *s = self.s->s;
    size_t from = 0, to = self.s->n;
    jrun_charge(r, 1 + (set ? set->n : 1));
    while (left && from < to) {
        size_t next = from;
        jrun_charge(r, 1);
        if (!in_set(jutf8_next(s, to, &next), set)) break;
        from = next;
    }
    while (right && to > from) {
        size_t last = to - 1, at;
        while (last > from && ((uint8_t)s[last] & 0xc0) == 0x80) last--;
        at = last;
        jrun_charge(r, 1);
        if (!in_set(jutf8_next(s, to, &at), set)) break;
        to = last;
    }
    return part(r, self, from, to - from);
}

static struct jval strip(struct jinja_run *r, struct jval self, struct jargs *a, bool left, bool right)
{
    const struct jstr *set = jarg_given(a->v[0]) ? want_str(r, a->v[0], "strip arg") : NULL;
    return jstr_strip(r, self, set, left, right);
}

static struct jval str_strip(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return strip(r, self, a, true, true);
}
static struct jval str_lstrip(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return strip(r, self, a, true, false);
}
static struct jval str_rstrip(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return strip(r, self, a, false, true);
}

static struct jval str_removeprefix(struct jinja_run *r, struct jval self, struct jargs *a)
{
    const struct jstr *s = self.s, *p = want_str(r, a->v[0], "the prefix");
    bool has = p->n <= s->n && !memcmp(s->s, p->s, p->n);
    return has ? part(r, self, p->n, s->n - p->n) : self;
}

static struct jval str_removesuffix(struct jinja_run *r, struct jval self, struct jargs *a)
{
    const struct jstr *s = self.s, *p = want_str(r, a->v[0], "the suffix");
    bool has = p->n <= s->n && !memcmp(s->s + s->n - p->n, p->s, p->n);
    return has ? part(r, self, 0, s->n - p->n) : self;
}

/* The next run of characters that are not white space, from *at on; false at the end. */
static bool next_word(const struct jstr *s, size_t *at, size_t *from, size_t *to)
{
    size_t p = *at, next;
    while (p < s->n && (next = p, jchar_space(jutf8_next(s->s, s->n, &next)))) p = next;
    *from = p;
    while (p < s->n && (next = p, !jchar_space(jutf8_next(s->s, s->n, &next)))) p = next;
    *to = *at = p;
    return *to > *from;
}

static void split_words(struct jinja_run *r, struct jval self, struct jseq *q, int64_t most)
{
    size_t at = 0, from, to;
    while (next_word(self.s, &at, &from, &to)) {
        if (most >= 0 && (int64_t)q->n == most) to = self.s->n; /* the rest as it is */
        jseq_push(r, q, part(r, self, from, to - from));
        if (to == self.s->n) return;
    }
}

static void split_at(struct jinja_run *r, struct jval self, struct jseq *q, const struct jstr *sep, int64_t most)
{
    const char *p = self.s->s, *end = p + self.s->n, *hit;
    while ((most < 0 || (int64_t)q->n < most) && (hit = memmem(p, (size_t)(end - p), sep->s, sep->n))) {
        jseq_push(r, q, part(r, self, (size_t)(p - self.s->s), (size_t)(hit - p)));
        p = hit + sep->n;
    }
    jseq_push(r, q, part(r, self, (size_t)(p - self.s->s), (size_t)(end - p)));
}

static void reverse(struct jseq *q)
{
    for (size_t i = 0; i < q->n / 2; i++) {
        struct jval v = q->v[i];
        q->v[i] = q->v[q->n - 1 - i];
        q->v[q->n - 1 - i] = v;
    }
}

static void rsplit_at(struct jinja_run *r, struct jval self, struct jseq *q, const struct jstr *sep, int64_t most)
{
    size_t n = self.s->n;
    const char *hit;
    while ((int64_t)q->n < most && (hit = find_last(self.s->s, n, sep))) {
        size_t at = (size_t)(hit - self.s->s);
        jrun_charge(r, (n - at) / 4);
        jseq_push(r, q, part(r, self, at + sep->n, n - at - sep->n));
        n = at;
    }
    jseq_push(r, q, part(r, self, 0, n));
    reverse(q);
}

/* The last `most` words, and before them what is left, its end stripped. */
static void rsplit_words(struct jinja_run *r, struct jval self, struct jseq *q, int64_t most)
{
    struct jseq *all = jseq_new(r, 0);
    split_words(r, self, all, -1);
    size_t rest = (uint64_t)most < all->n ? all->n - (size_t)most : 0;
    if (rest) {
        const struct jstr *last = all->v[rest - 1].s;
        jseq_push(r, q, part(r, self, 0, (size_t)(last->s + last->n - self.s->s)));
    }
    for (size_t i = rest; i < all->n; i++) jseq_push(r, q, all->v[i]);
}

static struct jval split(struct jinja_run *r, struct jval self, struct jargs *a, bool from_right)
{
    struct jseq *q = jseq_new(r, 0);
    int64_t most = jarg_int(r, a->v[1], -1, "maxsplit");
    jrun_charge(r, self.s->n / 16);
    if (!jarg_given(a->v[0])) {
        if (from_right && most >= 0)
            rsplit_words(r, self, q, most);
        else
            split_words(r, self, q, most);
        return jval_of_list(q);
    }
    const struct jstr *sep = want_str(r, a->v[0], "the separator");
    if (!sep->n) jrun_fail(r, "empty separator");
    if (from_right && most >= 0)
        rsplit_at(r, self, q, sep, most);
    else
        split_at(r, self, q, sep, most);
    return jval_of_list(q);
}

static struct jval str_split(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return split(r, self, a, false);
}
static struct jval str_rsplit(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return split(r, self, a, true);
}

static bool ends_line(uint32_t c)
{
    return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

struct jseq *jstr_lines(struct jinja_run *r, struct jval self, bool keep_ends)
{
    const struct jstr *s = self.s;
    struct jseq *q = jseq_new(r, 0);
    jrun_charge(r, s->n / 16);
    for (size_t at = 0, start = 0; at < s->n;) {
        size_t end = at;
        uint32_t c = jutf8_next(s->s, s->n, &at);
        bool line = ends_line(c);
        if (c == '\r' && at < s->n && s->s[at] == '\n') at++;
        if (!line && at < s->n) continue;
        jseq_push(r, q, part(r, self, start, (line && !keep_ends ? end : at) - start));
        start = at;
    }
    return q;
}

static struct jval str_splitlines(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return jval_of_list(jstr_lines(r, self, jarg_truth(r, a->v[0], false)));
}

static struct jval partition(struct jinja_run *r, struct jval self, struct jargs *a, bool last)
{
    const struct jstr *s = self.s, *sep = want_str(r, a->v[0], "the separator");
    if (!sep->n) jrun_fail(r, "empty separator");
    jrun_charge(r, s->n / 16);
    const char *hit = last ? find_last(s->s, s->n, sep) : memmem(s->s, s->n, sep->s, sep->n);
    size_t at = hit ? (size_t)(hit - s->s) : last ? 0 : s->n, after = hit ? at + sep->n : at;
    struct jseq *q = jseq_new(r, 3);
    jseq_push(r, q, part(r, self, 0, at));
    jseq_push(r, q, part(r, self, at, after - at));
    jseq_push(r, q, part(r, self, after, s->n - after));
    return jval_of_tuple(q);
}

static struct jval str_partition(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return partition(r, self, a, false);
}
static struct jval str_rpartition(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return partition(r, self, a, true);
}

/* -- joining -- */

static void replace_between(struct jinja_run *r, struct jbuf *b, const struct jstr *s, const struct jstr *new,
                            int64_t most)
{
    size_t at = 0;
    for (int64_t i = 0; i < most; i++) {
        size_t start = at;
        jrun_charge(r, 1);
        jbuf_put(r, b, new->s, new->n);
        if (at == s->n) return;
        jutf8_next(s->s, s->n, &at);
        jbuf_put(r, b, s->s + start, at - start);
    }
    jbuf_put(r, b, s->s + at, s->n - at);
}

struct jval jstr_replace(struct jinja_run *r, const struct jstr *s, const struct jstr *old, const struct jstr *new,
                         int64_t most)
{
    struct jbuf b = {0};
    most = most < 0 ? INT64_MAX : most;
    jrun_charge(r, s->n / 16);
    if (!old->n) {
        replace_between(r, &b, s, new, most);
        return jbuf_value(r, &b);
    }
    const char *p = s->s, *end = p + s->n, *hit;
    while (most-- > 0 && (hit = memmem(p, (size_t)(end - p), old->s, old->n))) {
        jrun_charge(r, 1);
        jbuf_put(r, &b, p, (size_t)(hit - p));
        jbuf_put(r, &b, new->s, new->n);
        p = hit + old->n;
    }
    jbuf_put(r, &b, p, (size_t)(end - p));
    return jbuf_value(r, &b);
}

static struct jval str_replace(struct jinja_run *r, struct jval self, struct jargs *a)
{
    const struct jstr *old = want_str(r, a->v[0], "replace() argument 1");
    const struct jstr *new = want_str(r, a->v[1], "replace() argument 2");
    if (self.safe) new = jval_escape(r, a->v[1]).s;
    struct jval v = jstr_replace(r, self.s, old, new, jarg_int(r, a->v[2], -1, "count"));
    v.safe = self.safe;
    return v;
}

static struct jval str_join(struct jinja_run *r, struct jval self, struct jargs *a)
{
    if (!jval_iterable(a->v[0])) jrun_fail(r, "can only join an iterable");
    const struct jseq *q = jval_elements(r, a->v[0]);
    struct jbuf b = {0};
    for (size_t i = 0; i < q->n; i++) {
        jrun_charge(r, 1);
        if (i) jbuf_put(r, &b, self.s->s, self.s->n);
        if (self.safe)
            jbuf_escape(r, &b, q->v[i]);
        else if (q->v[i].kind == J_STR)
            jbuf_str(r, &b, q->v[i]);
        else
            jrun_fail(r, "sequence item %zu: expected str instance, %s found", i, jval_type(q->v[i]));
    }
    struct jval v = jbuf_value(r, &b);
    v.safe = self.safe;
    return v;
}

static struct jval pad(struct jinja_run *r, struct jval self, struct jargs *a, char align)
{
    struct jspec spec = {.fill = " ", .fill_bytes = 1, .width = jarg_int(r, a->v[0], 0, "width"), .precision = -1};
    if (jarg_given(a->v[1])) {
        struct jstr *fill = want_str(r, a->v[1], "the fill character");
        if (jstr_chars(r, fill) != 1) jrun_fail(r, "The fill character must be exactly one character long");
        spec.fill = fill->s;
        spec.fill_bytes = fill->n;
    }
    struct jbuf b = {0};
    /* str.center() puts the odd blank left of text of odd length in an even field's stead; format() never does. */
    size_t chars = jstr_chars(r, self.s);
    if (align == '^' && spec.width > 0 && (uint64_t)spec.width > chars) {
        uint64_t extra = (uint64_t)spec.width - chars, left = extra / 2 + (extra & (uint64_t)spec.width & 1);
        struct jspec half = spec;
        half.width = (int64_t)(chars + left);
        jspec_pad(r, &b, &half, '>', 0, self.s);
        self = jbuf_value(r, &b);
        b = (struct jbuf){0};
        align = '<';
    }
    jspec_pad(r, &b, &spec, align, 0, self.s);
    struct jval v = jbuf_value(r, &b);
    v.safe = self.safe;
    return v;
}

struct jval jstr_center(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return pad(r, self, a, '^');
}
static struct jval str_ljust(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return pad(r, self, a, '<');
}
static struct jval str_rjust(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return pad(r, self, a, '>');
}

static struct jval str_zfill(struct jinja_run *r, struct jval self, struct jargs *a)
{
    struct jspec spec = {.fill = "0", .fill_bytes = 1, .width = jarg_int(r, a->v[0], 0, "width"), .precision = -1};
    struct jbuf b = {0};
    jspec_pad(r, &b, &spec, '=', self.s->n && strchr("+-", self.s->s[0]) ? 1 : 0, self.s);
    return jbuf_value(r, &b);
}

static struct jval str_format(struct jinja_run *r, struct jval self, struct jargs *a)
{
    return jformat_braces(r, self, a);
}

static struct jval str_format_map(struct jinja_run *r, struct jval self, struct jargs *a)
{
    if (a->v[0].kind != J_DICT) jrun_fail(r, "format_map() takes a dict, not %s", jval_type(a->v[0]));
    const struct jdict *d = a->v[0].d;
    struct jargs named = {.kw = jrun_array(r, d->n, sizeof(struct jkwarg)), .nkw = d->n};
    for (size_t i = 0; i < d->n; i++) named.kw[i] = (struct jkwarg){jval_text(r, d->v[i].key), d->v[i].value};
    return jformat_braces(r, self, &named);
}

const struct jbuiltin JSTR_METHODS[] = {
    {"capitalize", jstr_capitalize, "", 0},
    {"casefold", jstr_casefold, "", 0},
    {"center", jstr_center, "width fillchar", 1},
    {"count", str_count, "sub start end", 1},
    {"endswith", str_endswith, "suffix start end", 1},
    {"find", str_find, "sub start end", 1},
    {"format", str_format, NULL, 0},
    {"format_map", str_format_map, "mapping", 1},
    {"index", str_index, "sub start end", 1},
    {"isalnum", jstr_isalnum, "", 0},
    {"isalpha", jstr_isalpha, "", 0},
    {"isascii", jstr_isascii, "", 0},
    {"isdecimal", jstr_isdecimal, "", 0},
    {"isdigit", jstr_isdigit, "", 0},
    {"isidentifier", jstr_isidentifier, "", 0},
    {"islower", jstr_islower, "", 0},
    {"isnumeric", jstr_isnumeric, "", 0},
    {"isprintable", jstr_isprintable, "", 0},
    {"isspace", jstr_isspace, "", 0},
    {"istitle", jstr_istitle, "", 0},
    {"isupper", jstr_isupper, "", 0},
    {"join", str_join, "iterable", 1},
    {"ljust", str_ljust, "width fillchar", 1},
    {"lower", jstr_lower, "", 0},
    {"lstrip", str_lstrip, "chars", 0},
    {"partition", str_partition, "sep", 1},
    {"removeprefix", str_removeprefix, "prefix", 1},
    {"removesuffix", str_removesuffix, "suffix", 1},
    {"replace", str_replace, "old new count", 2},
    {"rfind", str_rfind, "sub start end", 1},
    {"rindex", str_rindex, "sub start end", 1},
    {"rjust", str_rjust, "width fillchar", 1},
    {"rpartition", str_rpartition, "sep", 1},
    {"rsplit", str_rsplit, "sep maxsplit", 0},
    {"rstrip", str_rstrip, "chars", 0},
    {"split", str_split, "sep maxsplit", 0},
    {"splitlines", str_splitlines, "keepends", 0},
    {"startswith", str_startswith, "prefix start end", 1},
    {"strip", str_strip, "chars", 0},
    {"swapcase", jstr_swapcase, "", 0},
    {"title", jstr_title, "", 0},
    {"upper", jstr_upper, "", 0},
    {"zfill", str_zfill, "width", 1},
    {0},
};
