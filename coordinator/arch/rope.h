/* Rotary position tables, by the rules that config.json names. Computed in float32 as transformers does
 * (modeling_rope_utils.py), so that angles agree to the last bit or two.
 *
 *   default    theta^(-2i/dim)
 *   linear     default / factor
 *   dynamic    theta grown for contexts beyond the trained one (NTK)
 *   llama3     low frequencies divided by factor, high ones kept, a ramp between (Llama 3.1)
 *   yarn       the same by numbers of rotations, and cos/sin scaled (Peng et al. 2023, arXiv 2309.00071)
 *   dynamic with alpha   theta grown by alpha for all lengths (Hunyuan)
 *   proportional  default for the first partial_rotary_factor of a head's frequencies, the others are zero (Gemma 4)
 *   longrope   one factor for each frequency, short or long by the length wanted (Ding et al. 2024, arXiv 2402.13753)
 *
 * Both forms of config.json are read: rope_theta with rope_scaling, and rope_parameters (which may hold one object for
 * each kind of layer). Where both stand there, rope_scaling is what someone added to a saved folder, and goes first, as in
 * transformers; theta and share come from rope_parameters where nothing else in the config gives them. (transformers takes its
 * class's then, which no model was trained with.) A number among the rules that is not known is refused: it would change the
 * angles, or what is made of them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/source/config.h"
#include "coordinator/arch/program.h"

struct rope_request {
    const char *layer_type; /* "full_attention" and so on where rope_parameters differ by layer, or NULL */
    double theta;           /* without one in the config; 0: 10000 */
    const char *theta_key;  /* the config's field for theta; NULL: rope_theta */
    const char *type;       /* without rules in the config; NULL: default */
    double share;           /* partial_rotary_factor of such rules, where type is proportional */
    uint32_t head_dim;      /* columns of a head, before the partial factor */
    double partial;         /* share of them that rotates; 0: 1 */
    bool partial_key;       /* the class reads partial_rotary_factor, which goes before it */
    const char *share_key;  /* with partial_key: what the config calls it outside of the rules; NULL: the same */
    double stretch;         /* every frequency is divided by it, after all else (ChatGLM2); 0: 1 */
    uint32_t trained;       /* original_max_position_embeddings where the config says nothing; 0: the full number */
    bool longrope;          /* whatever type is given, short_factor and long_factor mean longrope (Phi 3) */
    bool tunes;             /* llama_4_scaling_beta is read: q grows with the position (Ministral 3) */
    bool alpha;             /* alpha of dynamic rules stretches theta, whatever the length (Hunyuan) */
    double attention;       /* attention_factor of yarn rules that give none; 0: theirs */
    uint32_t length;        /* positions that the run may reach; 0: unknown, then the trained context */
};

struct rope_table {
    uint32_t index;      /* of program_rope() */
    uint32_t dim;        /* columns that rotate */
    float attention_mul; /* DeepSeek's further softmax scale for yarn's mscale_all_dim, squared already; 1 else */
    uint32_t trained;    /* positions for which the chosen factors are meant; 0: no such bound */
    /* Positions to which the rules stretch the trained ones, whatever max_position_embeddings says; 0: they do not. By
     * default (yarn), and where a run asks for them (linear, dynamic: most of their folders count them already). */
    uint32_t stretched, stretchable;
    float tune_mul, tune_floor; /* with tunes: q times 1 + tune_mul * log(1 + floor(position / tune_floor)); 0: no */
    bool borrowed;              /* theta or share is that of a rope_parameters beside rope_scaling */
};

/* Puts the table into the program. Sticky: see config.h. */
struct rope_table rope_make(struct program *p, const struct config *c, const struct rope_request *q, struct error *e);
