#include "coordinator/serve/fault.h"

#include <stdarg.h>
#include <stdio.h>

#include "coordinator/serve/out.h"

static const char *type_of(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 501: return "not_supported_error";
    case 503: return "unavailable_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
    }
}

int fault_set(struct fault *f, int status, const char *param, const char *code, const char *format, ...)
{
    va_list ap;

    *f = (struct fault){.status = status, .type = type_of(status), .code = code};
    if (param) snprintf(f->param, sizeof f->param, "%s", param);
    va_start(ap, format);
    vsnprintf(f->text, sizeof f->text, format, ap);
    va_end(ap);
    return -1;
}

static void string_or_null(struct buffer *b, const char *key, const char *text)
{
    out_format(b, ",\"%s\":", key);
    if (text && *text)
        out_string(b, text, strlen(text));
    else
        buffer_append_text(b, "null");
}

void fault_write(struct buffer *b, const struct fault *f)
{
    buffer_append_text(b, f->typed ? "{\"type\":\"error\",\"error\":{\"message\":" : "{\"error\":{\"message\":");
    out_string(b, f->text, strlen(f->text));
    string_or_null(b, "type", f->type);
    string_or_null(b, "param", f->param);
    string_or_null(b, "code", f->code);
    if (f->context) out_format(b, ",\"n_prompt_tokens\":%u,\"n_ctx\":%u", f->prompt_tokens, f->context);
    buffer_append_text(b, "}}");
}
