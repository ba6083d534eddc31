// Names of tensors in GGUF files, and in Hugging Face's checkpoints of the same models.
// Source: the GGUF specification, "Standardized tensor names".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cria::model {

/// "blk.3.attn_q.weight" gives "model.layers.3.self_attn.q_proj.weight"; nothing for a name that no supported
/// architecture has.
[[nodiscard]] std::optional<std::string> huggingface_name(std::string_view gguf_name);
/// The other way round.
[[nodiscard]] std::optional<std::string> gguf_name(std::string_view huggingface_name);

}  // namespace cria::model
