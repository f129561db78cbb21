/* How fast this machine unpacks (proto/unit/unit.h). */
#pragma once

/* Bytes of BF16 a second that one thread unpacks into its own cache: measured, some milliseconds. 0: no memory to. */
double unpack_speed(void);
/* "avx512": the code that it was measured with. */
const char *unpack_code(void);
