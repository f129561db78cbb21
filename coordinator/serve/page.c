#include "coordinator/serve/page.h"

#include <string.h>

/* The files lie beside this one; the assembler puts them in. */
#define EMBED(name, file)                                                                                              \
    __asm__(".pushsection .rodata\n"                                                                                   \
            ".global " #name "\n" #name ":\n"                                                                          \
            ".incbin \"coordinator/serve/" file "\"\n"                                                                 \
            ".global " #name "_end\n" #name "_end:\n"                                                                  \
            ".byte 0\n"                                                                                                \
            ".popsection\n");                                                                                          \
    extern const char name[], name##_end[]

EMBED(page_html, "page.html");
EMBED(page_js, "page.js");
EMBED(page_css, "page.css");

void page_reply(struct exchange *x)
{
    const char *path = exchange_path(x);

    if (!strcmp(path, "/page.js"))
        http_static(x, "text/javascript; charset=utf-8", PAGE_POLICY, page_js, (size_t)(page_js_end - page_js));
    else if (!strcmp(path, "/page.css"))
        http_static(x, "text/css; charset=utf-8", PAGE_POLICY, page_css, (size_t)(page_css_end - page_css));
    else
        http_static(x, "text/html; charset=utf-8", PAGE_POLICY, page_html, (size_t)(page_html_end - page_html));
}
