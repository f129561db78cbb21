#include "coordinator/source/gguf_types.h"

#include <stddef.h>
#include "proto/form.h"

/* ggml/include/ggml.h has the numbers, ggml/src/ggml-common.h the blocks. 4, 5, 31 to 33 and 36 to 38 were given to types
 * that no program reads any more. Q8_1 and Q8_K are of activations, in memory only. */
/* clang-format off */
static const struct gguf_type types[] = {
    [0] = {"F32", 1, 4, FORM_F32},
    [1] = {"F16", 1, 2, FORM_F16},
    [2] = {"Q4_0", 32, 18, FORM_Q4_0},
    [3] = {"Q4_1", 32, 20, FORM_Q4_1},
    [4] = {"Q4_2", 0, 0, -1},
    [5] = {"Q4_3", 0, 0, -1},
    [6] = {"Q5_0", 32, 22, FORM_Q5_0},
    [7] = {"Q5_1", 32, 24, FORM_Q5_1},
    [8] = {"Q8_0", 32, 34, FORM_Q8_0},
    [9] = {"Q8_1", 32, 36, -1},
    [10] = {"Q2_K", 256, 84, FORM_Q2_K},
    [11] = {"Q3_K", 256, 110, FORM_Q3_K},
    [12] = {"Q4_K", 256, 144, FORM_Q4_K},
    [13] = {"Q5_K", 256, 176, FORM_Q5_K},
    [14] = {"Q6_K", 256, 210, FORM_Q6_K},
    [15] = {"Q8_K", 256, 292, -1},
    [16] = {"IQ2_XXS", 256, 66, FORM_IQ2_XXS},
    [17] = {"IQ2_XS", 256, 74, FORM_IQ2_XS},
    [18] = {"IQ3_XXS", 256, 98, FORM_IQ3_XXS},
    [19] = {"IQ1_S", 256, 50, FORM_IQ1_S},
    [20] = {"IQ4_NL", 32, 18, FORM_IQ4_NL},
    [21] = {"IQ3_S", 256, 110, FORM_IQ3_S},
    [22] = {"IQ2_S", 256, 82, FORM_IQ2_S},
    [23] = {"IQ4_XS", 256, 136, FORM_IQ4_XS},
    [24] = {"I8", 1, 1, FORM_BYTES},
    [25] = {"I16", 1, 2, FORM_BYTES},
    [26] = {"I32", 1, 4, FORM_BYTES},
    [27] = {"I64", 1, 8, FORM_BYTES},
    [28] = {"F64", 1, 8, FORM_F64},
    [29] = {"IQ1_M", 256, 56, FORM_IQ1_M},
    [30] = {"BF16", 1, 2, FORM_BF16},
    [31] = {"Q4_0_4_4", 0, 0, -1},
    [32] = {"Q4_0_4_8", 0, 0, -1},
    [33] = {"Q4_0_8_8", 0, 0, -1},
    [34] = {"TQ1_0", 256, 54, FORM_TQ1_0},
    [35] = {"TQ2_0", 256, 66, FORM_TQ2_0},
    [36] = {"IQ4_NL_4_4", 0, 0, -1},
    [37] = {"IQ4_NL_4_8", 0, 0, -1},
    [38] = {"IQ4_NL_8_8", 0, 0, -1},
    [39] = {"MXFP4", 32, 17, FORM_MXFP4_BLOCK},
    [40] = {"NVFP4", 64, 36, FORM_NVFP4},
    [41] = {"Q1_0", 128, 18, -1},
    [42] = {"Q2_0", 64, 18, -1},
};
/* clang-format on */

const struct gguf_type *gguf_type(uint32_t type)
{
    return type < sizeof types / sizeof *types && types[type].name ? &types[type] : NULL;
}

const char *gguf_type_name(uint32_t type)
{
    const struct gguf_type *t = gguf_type(type);

    return t ? t->name : "unknown";
}

int form_of_ggml_type(uint32_t type)
{
    const struct gguf_type *t = gguf_type(type);

    return t ? t->form : -1;
}
