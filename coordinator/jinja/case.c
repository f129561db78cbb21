/* Strings by the kinds of their characters: upper and lower case, titles, and the is... methods. */
#include "coordinator/jinja/str.h"

#include <utf8proc.h>

enum letter_case { CASE_LOWER, CASE_UPPER, CASE_TITLE, CASE_FOLD };

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

static bool is_upper(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LU || category(c) == UTF8PROC_CATEGORY_LT;
}

static bool is_lower(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LL || c == 0xaa || c == 0xba;
}

static bool is_cased(uint32_t c)
{
    return is_upper(c) || is_lower(c);
}

static bool is_letter(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool is_number(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

static bool is_digit(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_ND || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
           (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}

bool jchar_word(uint32_t c)
{
    return c == '_' || is_letter(c) || is_number(c);
}

/* The characters that become several (Unicode's SpecialCasing.txt, the unconditional ones of common scripts). */
static const struct {
    uint32_t c;
    const char *upper, *title, *lower, *fold;
} special[] = {
    {0xdf, "SS", "Ss", NULL, "ss"},
    {0x130, NULL, NULL, "i\u0307", "i\u0307"},
    {0x149, "\u02bcN", "\u02bcN", NULL, "\u02bcn"},
    {0x1f0, "J\u030c", "J\u030c", NULL, "j\u030c"},
    {0x1e9e, NULL, NULL, NULL, "ss"},
    {0xfb00, "FF", "Ff", NULL, "ff"},
    {0xfb01, "FI", "Fi", NULL, "fi"},
    {0xfb02, "FL", "Fl", NULL, "fl"},
    {0xfb03, "FFI", "Ffi", NULL, "ffi"},
    {0xfb04, "FFL", "Ffl", NULL, "ffl"},
    {0xfb05, "ST", "St", NULL, "st"},
    {0xfb06, "ST", "St", NULL, "st"},
    {0x3c2, NULL, NULL, NULL, "\u03c3"},
    {0xb5, NULL, NULL, NULL, "\u03bc"},
    {0x17f, NULL, NULL, NULL, "s"},
};

static const char *special_case(uint32_t c, enum letter_case to)
{
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (special[i].c == c)
            return to == CASE_UPPER   ? special[i].upper
                   : to == CASE_TITLE ? special[i].title
                   : to == CASE_LOWER ? special[i].lower
                                      : special[i].fold;
    return NULL;
}

static void put_case(struct jinja_run *r, struct jbuf *b, uint32_t c, enum letter_case to)
{
    if (c < 0x80) {
        bool up = to == CASE_UPPER || to == CASE_TITLE;
        jbuf_char(r, b, (char)(up && c >= 'a' && c <= 'z' ? c - 32 : !up && c >= 'A' && c <= 'Z' ? c + 32 : c));
        return;
    }
    const char *text = special_case(c, to);
    utf8proc_int32_t i = (utf8proc_int32_t)c;
    if (text)
        jbuf_cstr(r, b, text);
    else
        jbuf_code(r, b,
                  (uint32_t)(to == CASE_UPPER   ? utf8proc_toupper(i)
                             : to == CASE_TITLE ? utf8proc_totitle(i)
                                                : utf8proc_tolower(i)));
}

/* A capital sigma that ends a word becomes the final one. */
static bool final_sigma(const struct jstr *s, size_t start, size_t after)
{
    size_t before = start, at;
    if (!start || (after < s->n && (at = after, is_cased(jutf8_next(s->s, s->n, &at))))) return false;
    do before--;
    while (before > 0 && ((uint8_t)s->s[before] & 0xc0) == 0x80);
    return is_cased(jutf8_next(s->s, s->n, &before));
}

static void put_lower(struct jinja_run *r, struct jbuf *b, const struct jstr *s, size_t start, size_t after, uint32_t c)
{
    if (c == 0x3a3 && final_sigma(s, start, after))
        jbuf_code(r, b, 0x3c2);
    else
        put_case(r, b, c, CASE_LOWER);
}

static struct jval finish(struct jinja_run *r, struct jbuf *b, struct jval self)
{
    struct jval v = jbuf_value(r, b);
    v.safe = self.safe;
    return v;
}

static struct jval all_to(struct jinja_run *r, struct jval self, enum letter_case to)
{
    struct jbuf b = {0};
    jrun_charge(r, self.s->n / 8);
    for (size_t at = 0; at < self.s->n;) {
        size_t start = at;
        uint32_t c = jutf8_next(self.s->s, self.s->n, &at);
        if (to == CASE_LOWER)
            put_lower(r, &b, self.s, start, at, c);
        else
            put_case(r, &b, c, to);
    }
    return finish(r, &b, self);
}

struct jval jstr_lower(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_to(r, self, CASE_LOWER);
}

struct jval jstr_upper(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_to(r, self, CASE_UPPER);
}

struct jval jstr_casefold(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_to(r, self, CASE_FOLD);
}

/* What the character after c, in the same text, is put as. */
typedef bool word_rule(uint32_t c);

static bool rule_title(uint32_t c)
{
    return is_cased(c);
}
static bool rule_capitalize(uint32_t c)
{
    (void)c;
    return true;
}
static bool rule_title_filter(uint32_t c)
{
    return !jchar_space(c) && (c > 0x7f || !strchr("-({[<", (int)c));
}

/* The first character of each word in title case, the rest in lower case; in_word(c): after c the word goes on. */
static struct jval to_title(struct jinja_run *r, struct jval self, word_rule *in_word, enum letter_case first)
{
    struct jbuf b = {0};
    bool inside = false;
    jrun_charge(r, self.s->n / 8);
    for (size_t at = 0; at < self.s->n;) {
        size_t start = at;
        uint32_t c = jutf8_next(self.s->s, self.s->n, &at);
        if (inside)
            put_lower(r, &b, self.s, start, at, c);
        else
            put_case(r, &b, c, first);
        inside = in_word(c);
    }
    return finish(r, &b, self);
}

struct jval jstr_title(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return to_title(r, self, rule_title, CASE_TITLE);
}

struct jval jstr_capitalize(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return to_title(r, self, rule_capitalize, CASE_TITLE);
}

struct jval jstr_title_words(struct jinja_run *r, struct jval self)
{
    struct jval v = to_title(r, self, rule_title_filter, CASE_UPPER);
    v.safe = false;
    return v;
}

struct jval jstr_swapcase(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    struct jbuf b = {0};
    jrun_charge(r, self.s->n / 8);
    for (size_t at = 0; at < self.s->n;) {
        uint32_t c = jutf8_next(self.s->s, self.s->n, &at);
        put_case(r, &b, c, is_upper(c) ? CASE_LOWER : CASE_UPPER);
    }
    return finish(r, &b, self);
}

/* -- is... -- */

typedef bool char_test(uint32_t c);

static struct jval all_are(struct jinja_run *r, struct jval self, char_test *test, bool if_empty)
{
    jrun_charge(r, self.s->n / 8);
    for (size_t at = 0; at < self.s->n;)
        if (!test(jutf8_next(self.s->s, self.s->n, &at))) return jval_bool(false);
    return jval_bool(self.s->n > 0 || if_empty);
}

static bool test_alnum(uint32_t c)
{
    return is_letter(c) || is_number(c);
}
static bool test_ascii(uint32_t c)
{
    return c < 0x80;
}
static bool test_decimal(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_ND;
}

struct jval jstr_isalnum(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_are(r, self, test_alnum, false);
}
struct jval jstr_isalpha(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_are(r, self, is_letter, false);
}
struct jval jstr_isascii(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_are(r, self, test_ascii, true);
}
struct jval jstr_isdecimal(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_are(r, self, test_decimal, false);
}
struct jval jstr_isdigit(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_are(r, self, is_digit, false);
}
struct jval jstr_isnumeric(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_are(r, self, is_number, false);
}
struct jval jstr_isspace(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_are(r, self, jchar_space, false);
}
struct jval jstr_isprintable(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_are(r, self, jchar_printable, true);
}

struct jval jstr_isidentifier(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    size_t at = 0;
    uint32_t first = self.s->n ? jutf8_next(self.s->s, self.s->n, &at) : 0;
    return first == '_' || is_letter(first) ? all_are(r, self, jchar_word, false) : jval_bool(false);
}

/* All cased characters of one kind, and at least one of them. */
static struct jval all_cased(struct jinja_run *r, struct jval self, char_test *wanted)
{
    bool any = false;
    jrun_charge(r, self.s->n / 8);
    for (size_t at = 0; at < self.s->n;) {
        uint32_t c = jutf8_next(self.s->s, self.s->n, &at);
        if (is_cased(c) && !wanted(c)) return jval_bool(false);
        any |= is_cased(c);
    }
    return jval_bool(any);
}

struct jval jstr_islower(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_cased(r, self, is_lower);
}

struct jval jstr_isupper(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return all_cased(r, self, is_upper);
}

struct jval jstr_istitle(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    bool any = false, inside = false;
    jrun_charge(r, self.s->n / 8);
    for (size_t at = 0; at < self.s->n;) {
        uint32_t c = jutf8_next(self.s->s, self.s->n, &at);
        if ((is_upper(c) && inside) || (is_lower(c) && !inside)) return jval_bool(false);
        any |= is_cased(c);
        inside = is_cased(c);
    }
    return jval_bool(any);
}
