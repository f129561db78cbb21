/* sluice batch: a file of requests, a line each in OpenAI's batch form, answered into another.
 *
 *   in    {"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{...}}
 *   out   {"id":"batch_req_1","custom_id":"a","response":{"status_code":200,"request_id":"...","body":{...}},"error":null}
 *
 * Requests go the way that the server's go, as many side by side as there is room for. Results are written as they end, each
 * by one write. A line that is no request, or a refused one, gets a result that says so; the others are answered. */
#pragma once
#include "coordinator/cli/options.h"
#include "proto/base/error.h"

int batch(const struct options *o, struct error *e);
