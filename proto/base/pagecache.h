/* What the page cache holds of a file. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Looks at samples spread over the file: true where nearly all of them are in memory. Reads nothing; false when the
 * system does not tell. */
bool pagecache_holds(int fd, uint64_t bytes);

/* Is all of a range in memory? Where the system tells by mapping only, its first 64 KiB are looked at. */
bool pagecache_holds_range(int fd, uint64_t offset, uint64_t bytes);

/* Memory that could be had without swapping, of the machine or of this process's cgroup if that is less. 0: unknown. */
uint64_t pagecache_room(void);
