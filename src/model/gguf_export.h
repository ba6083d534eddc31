// A configuration as the metadata of a GGUF file: the other way round of gguf_config.h.
#pragma once

#include <string_view>
#include <vector>

#include "formats/gguf_write.h"
#include "model/config.h"

namespace cria::model {

/// "llama" (Mistral too), "qwen2" or "qwen3".
[[nodiscard]] std::string_view gguf_architecture(const ModelConfig& config);

/// Elements of a head whose rows must be stored in pairs, of a tensor with this Hugging Face name; 0 where rows keep
/// their order. See TensorView::paired_rows.
[[nodiscard]] uint32_t gguf_paired_rows(const ModelConfig& config, std::string_view name);

/// The divisors that go into rope_freqs.weight; empty where frequencies need none.
[[nodiscard]] std::vector<float> gguf_rope_divisors(const ModelConfig& config);

/// Adds the architecture and its keys. Errors: kUnsupported for what GGUF files of the architecture cannot say, such as
/// dynamic RoPE and windows of single layers.
Status describe_config(const ModelConfig& config, formats::GgufWriter& writer);

}  // namespace cria::model
