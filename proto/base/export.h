/* What EXPORT messages carry between compute and transfer of the cuda backend. A handle is 64 bytes (cudaIpcMemHandle_t,
 * cudaIpcEventHandle_t); events come one for each entry of the device rings, lane 0's first. */
#pragma once

enum export_kind { EXPORT_MEMORY = 1, EXPORT_FREED_EVENTS, EXPORT_READY_EVENTS };

#define EXPORT_HANDLE_BYTES 64
