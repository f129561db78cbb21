/* speeds.json: what earlier runs have learnt of the machine, in a folder where anybody may have written. */
#include "coordinator/plan/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

#define NOWHERE "/no/such/folder" /* all that is known of it has the key of device 0 */

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"sluice/speeds.json", NULL};
    static struct fuzz_folder folder;
    struct calibration s;
    uint64_t block;
    uint32_t depth;

    if (!folder.files) {
        fuzz_folder_make(&folder, names);
        setenv("XDG_CACHE_HOME", folder.path, 1);
    }
    fuzz_folder_fill(&folder, 0, data, bytes, 0);
    calibration_load(&s, NOWHERE, NULL);
    if (!(s.disk > 0) || !(s.memory > 0) || !isfinite(s.disk) || !isfinite(s.memory) || !(s.flops > 0) ||
        !isfinite(s.flops) || !(s.fill >= 0) || !isfinite(s.fill))
        fuzz_fail("a speed that is none");
    if (calibration_reading(NOWHERE, &block, &depth) && (!block || block % 4096 || !depth || depth > 256))
        fuzz_fail("a way of reading that the reader does not have");
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[] = {
        "{\"disk-0\":2500000000.0,\"memory\":21000000000.0,\"read-disk-0\":{\"block\":1048576,\"depth\":16}}",
        "{\"disk-0\":1e308,\"memory\":-1,\"read-disk-0\":{\"block\":4097,\"depth\":4294967297}}",
        "{\"disk-0\":[2e9,1e400,\"x\",1],\"probe-disk-0\":3e9,\"fill\":[0,-1],\"memory-BF16-2\":[2e10,2.1e10,3e10,1,2,"
        "3]}",
        "{\"read-disk-0\":{\"block\":9223372036854775807}}",
        "[]",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) emit(arg, texts[i], strlen(texts[i]));
}

const struct fuzz_target fuzz_calibration = {"calibration", run, seeds, 0};
