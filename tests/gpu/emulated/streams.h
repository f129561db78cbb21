/* Streams and events of the emulated device: see cuda_runtime.h. Without EMULATED_ASYNC what is queued is done before the call
 * returns. With it each stream has a thread, which
 *
 *   copies late and in pieces, with pauses, after it has filled where they go with what is not a number
 *   pauses before some kernels
 *
 * Events are pairs of counters in a memory file, shared with whoever opens their handle:
 *
 *   record   asked += 1 at once; the stream sets done to that number when it comes to it
 *   wait     the stream waits until done is what asked was at the call: an event that was never recorded holds up nothing
 *   query    not ready while done is less than asked */
#pragma once
#include <functional>
#include "cuda_runtime.h"

bool emulated_async(void);
/* cudaErrorInvalidDevice where the calling thread has chosen another device than the stream's; a lost device's error. */
cudaError_t emulated_queue(cudaStream_t s, std::function<void()> work);
void emulated_copy(void *dst, const void *src, size_t bytes); /* in pieces; on the stream's thread */
void emulated_pause(unsigned one_in);                         /* by chance, on the stream's thread */
/* Is this call left out of this process (EMULATED_WITHOUT)? */
bool emulated_without(const char *word);
/* The process's context, made by the first call that wants one. */
cudaError_t emulated_context(void);
