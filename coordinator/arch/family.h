/* The families: which architecture of config.json is written by which function. To add one, write a file in families/
 * that fills a struct stack (stack.h), and add its lines here. */
#pragma once
#include "coordinator/arch/build.h"

struct family {
    const char *architecture; /* config.json: architectures[0] */
    const char *model_type;   /* where architectures are not given, and of a nested text_config; NULL: not used */
    void (*write)(struct build *b);
};

/* What a user should know of the choice: that only the text part of a folder runs, or that an architecture of another name
 * runs by its model_type. Empty: nothing. */
struct family_notice {
    char text[200];
};

/* The model_type whose class has the defaults of a config of this family: its own, where the family writes that one, else
 * the family's. NULL: none is known. */
const char *family_class(const struct family *f, const struct config *c);

/* The family of a config; NULL and a fault that lists the known ones, or says why this one cannot write text. */
const struct family *family_find(const struct config *c, struct family_notice *says, struct error *e);

/* Is the class of this name written by the same function? */
bool family_writes_as(const struct family *f, const char *architecture);

void family_llama(struct build *b);
void family_mistral(struct build *b);
void family_qwen2(struct build *b);
void family_qwen3(struct build *b);
void family_qwen3_vl(struct build *b);
void family_gemma(struct build *b);
void family_gemma2(struct build *b);
void family_gemma3(struct build *b);
void family_gemma3n(struct build *b);
void family_gemma4(struct build *b);
void family_phi3(struct build *b);
void family_glm(struct build *b);
void family_glm4(struct build *b);
void family_olmo2(struct build *b);
void family_granite(struct build *b);
void family_granite_moe(struct build *b);
void family_cohere(struct build *b);
void family_cohere2(struct build *b);
void family_starcoder2(struct build *b);
void family_stablelm(struct build *b);
void family_smollm3(struct build *b);
void family_ernie45(struct build *b);
void family_seed_oss(struct build *b);
void family_exaone4(struct build *b);
void family_mixtral(struct build *b);
void family_minimax_m3(struct build *b);
void family_minimax_m2(struct build *b);
void family_qwen2_moe(struct build *b);
void family_qwen3_moe(struct build *b);
void family_qwen3_vl_moe(struct build *b);
void family_qwen3_next(struct build *b);
void family_qwen35(struct build *b);
void family_qwen35_moe(struct build *b);
void family_lfm2(struct build *b);
void family_lfm2_moe(struct build *b);
void family_mamba2(struct build *b);
void family_nemotron_h(struct build *b);
void family_granite_hybrid(struct build *b);
void family_bamba(struct build *b);
void family_falcon_h1(struct build *b);
void family_jamba(struct build *b);
void family_kimi_linear(struct build *b);
void family_bailing_hybrid(struct build *b);
void family_olmoe(struct build *b);
void family_glm4_moe(struct build *b);
void family_deepseek_v2(struct build *b);
void family_deepseek_v3(struct build *b);
void family_deepseek_v32(struct build *b);
void family_deepseek_v4(struct build *b);
void family_glm_moe_dsa(struct build *b);
void family_gpt_oss(struct build *b);
void family_llama4(struct build *b);
void family_internlm2(struct build *b);
void family_baichuan(struct build *b);
void family_qwen1(struct build *b);
void family_chatglm(struct build *b);
void family_dots1(struct build *b);
void family_solar_open(struct build *b);
void family_hy_v3(struct build *b);
void family_ernie45_moe(struct build *b);
void family_glm4_moe_lite(struct build *b);
void family_exaone_moe(struct build *b);
void family_afmoe(struct build *b);
void family_cohere2_moe(struct build *b);
void family_ministral3(struct build *b);
void family_hunyuan_dense(struct build *b);
void family_arcee(struct build *b);
void family_nemotron(struct build *b);
void family_olmo(struct build *b);
void family_olmo3(struct build *b);
void family_internlm3(struct build *b);
void family_phimoe(struct build *b);
void family_longcat_flash(struct build *b);
void family_mimo_v2_flash(struct build *b);
void family_step3p5(struct build *b);
void family_mistral4(struct build *b);
void family_hunyuan_moe(struct build *b);
void family_apertus(struct build *b);
void family_minicpm(struct build *b);
void family_minicpm3(struct build *b);
void family_gpt2(struct build *b);
void family_gpt_bigcode(struct build *b);
void family_opt(struct build *b);
void family_gpt_neox(struct build *b);
void family_falcon(struct build *b);
void family_bloom(struct build *b);
void family_mpt(struct build *b);
void family_phi(struct build *b);
