/* Sums that lie beside the files, in the forms that are found in the wild:
 *
 *   FILE.sha256, SHA256SUMS, sha256sums.txt, checksums.sha256 and the like   as sha256sum writes them, or as BSD does
 *   .cache/huggingface/download/FILE.metadata   second line: the server's etag, the SHA-256 of a large file and the git
 *                                               blob's SHA-1 of a small one (huggingface_hub, --local-dir)
 *   FILE -> ../../blobs/HEX                     the hub's cache: the blob is named by that same etag
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is a file of this name such a list? */
bool published_is_list(const char *name);

/* A line of a list: "HEX  NAME", "HEX *NAME", "\HEX  NAME" (escaped), "SHA256 (NAME) = HEX", or HEX alone (name empty).
 * hex gets 65 bytes, lower case; name points into line, which is changed. false: the line says nothing. */
bool published_parse(char *line, char hex[65], char **name);
