/* Files that tests/fetch_models.sh fetches, which are too large to lie in the repository. */
#pragma once

/* The path of one, the caller's. NULL where it is not there: said with "skipped:", and the caller skips. */
char *fetched_path(const char *name);
