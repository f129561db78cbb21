/* The page: three files that are part of the program. No other path leads to a file. */
#pragma once
#include <stdbool.h>
#include "coordinator/serve/http.h"

#define PAGE_POLICY                                                                                                    \
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src 'self' data:; "          \
    "object-src 'none'"

/* Answers a request for /, /page.js or /page.css. */
void page_reply(struct exchange *x);
