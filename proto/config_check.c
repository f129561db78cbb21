#include "proto/check.h"

#include <errno.h>

static bool power_of_two(uint32_t x)
{
    return x && !(x & (x - 1));
}

static int check_lane(const struct plan_run *r, int lane, struct error *e)
{
    if (!r->reader_slots[lane] || r->reader_slots[lane] > CHECK_SLOTS)
        CHECK_FAIL("%u host slots in lane %d", r->reader_slots[lane], lane);
    if ((r->backend == BACKEND_CUDA) != (r->transfer_slots[lane] > 0) || r->transfer_slots[lane] > CHECK_SLOTS)
        CHECK_FAIL("%u device slots in lane %d", r->transfer_slots[lane], lane);
    if (!power_of_two(r->entries[lane]) || r->entries[lane] > 4 * CHECK_SLOTS)
        CHECK_FAIL("%u ring entries in lane %d", r->entries[lane], lane);
    return 0;
}

int check_config(const struct plan_run *r, struct error *e)
{
    int rc;

    if (r->backend > BACKEND_CUDA || r->io > PLAN_IO_BUFFERED || r->engine > ENGINE_NULL)
        CHECK_FAIL("unknown backend %u, io %u or engine %u", r->backend, r->io, r->engine);
    if (!form_can_be(r->kv_form, FORM_CACHE))
        CHECK_FAIL("no KV cache is kept in form %u (%s)", r->kv_form, form_name(r->kv_form));
    if (!r->slot_bytes || r->slot_bytes % PLAN_PAGE || r->slot_bytes > CHECK_SLOT)
        CHECK_FAIL("slots of %llu bytes", ULL(r->slot_bytes));
    if (r->host_cache_bytes % PLAN_PAGE || r->device_pin_bytes % PLAN_PAGE || r->expert_cache_bytes % PLAN_PAGE ||
        r->host_cache_bytes > CHECK_BYTES || r->device_pin_bytes > CHECK_BYTES ||
        r->expert_cache_bytes > r->host_cache_bytes)
        CHECK_FAIL("host cache of %llu bytes, %llu for experts; %llu on the device", ULL(r->host_cache_bytes),
                   ULL(r->expert_cache_bytes), ULL(r->device_pin_bytes));
    if (!r->row_slot_bytes || r->row_slot_bytes % PLAN_PAGE || r->row_slot_bytes > r->slot_bytes)
        CHECK_FAIL("slots of %llu bytes for rows", ULL(r->row_slot_bytes));
    for (int lane = 0; lane < LANES; lane++) {
        rc = check_lane(r, lane, e);
        if (rc) return rc;
    }
    if (r->io_block_bytes < PLAN_PAGE || r->io_block_bytes % PLAN_PAGE || r->io_block_bytes > CHECK_SLOT)
        CHECK_FAIL("reads of %llu bytes", ULL(r->io_block_bytes));
    if (r->io_find > IO_FIND_ON_WISH) CHECK_FAIL("reads are to be tried in an unknown way (%u)", r->io_find);
    if (r->probe_bytes % PLAN_PAGE || r->probe_bytes > PLAN_PROBE_MOST || (r->io_find && !r->probe_bytes) ||
        r->peak_bytes % PLAN_PAGE || r->peak_bytes > PLAN_PEAK_MOST)
        CHECK_FAIL("%llu bytes for reads that are tried, %llu for measuring", ULL(r->probe_bytes), ULL(r->peak_bytes));
    if (!r->io_depth || r->io_depth > 4096) CHECK_FAIL("%u reads in flight", r->io_depth);
    if (!r->threads || r->threads > 4096 || r->device > 4096)
        CHECK_FAIL("%u threads, device %u", r->threads, r->device);
    if (!r->kv_rows || r->kv_rows > CHECK_POSITIONS || !r->max_positions || r->max_positions > CHECK_POSITIONS)
        CHECK_FAIL("%u cached positions, %u in a sweep", r->kv_rows, r->max_positions);
    if (!r->max_logits || r->max_logits > r->max_positions)
        CHECK_FAIL("%u logits of %u positions", r->max_logits, r->max_positions);
    if (r->guesses >= r->kv_rows || (r->guesses && r->guesses >= r->max_logits))
        CHECK_FAIL("%u guesses, with %u cached positions and %u logits", r->guesses, r->kv_rows, r->max_logits);
    if (!r->sequences || r->sequences > CHECK_POSITIONS) CHECK_FAIL("%u sequences", r->sequences);
    return 0;
}
