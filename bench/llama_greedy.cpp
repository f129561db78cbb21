/* The likeliest tokens that follow texts, by llama.cpp: llama_greedy MODEL.gguf N TEXT..., a line of ids for each text, those of the
 * text first and a bar behind them. Compiled by claim_pack_gguf.sh against what peers.sh built. */
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "llama.h"

static void quiet(ggml_log_level level, const char *text, void *)
{
    if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    llama_log_set(quiet, nullptr);
    llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) return 1;
    const llama_vocab *vocab = llama_model_get_vocab(model);
    for (int k = 3; k < argc; k++) {
        const std::string text = argv[k];
        std::vector<llama_token> ids(text.size() + 16);
        ids.resize((size_t)llama_tokenize(vocab, text.data(), (int)text.size(), ids.data(), (int)ids.size(), true, true));
        for (llama_token id : ids) printf("%d ", id);
        printf("|");
        llama_context_params p = llama_context_default_params();
        p.n_ctx = 512;
        llama_context *c = llama_init_from_model(model, p);
        for (int i = 0; i < atoi(argv[2]); i++) {
            if (llama_decode(c, llama_batch_get_one(ids.data(), (int)ids.size()))) return 1;
            const float *logits = llama_get_logits_ith(c, -1);
            llama_token best = 0;
            for (llama_token j = 1; j < llama_vocab_n_tokens(vocab); j++)
                if (logits[j] > logits[best]) best = j;
            printf(" %d", best);
            ids = {best};
        }
        printf("\n");
        llama_free(c);
    }
    llama_model_free(model);
}
