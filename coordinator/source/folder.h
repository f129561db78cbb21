/* A folder as Hugging Face has them: config.json, safetensors files, the tokenizer's files, a template, defaults. place.h
 * says which paths lead to one. */
#pragma once
#include "coordinator/source/source.h"

extern const struct source_ops source_folder_ops;
