#include "model/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>

namespace cria::model {
namespace {

struct NamePair {
  std::string_view gguf, huggingface;
};
constexpr NamePair kOfModel[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
constexpr NamePair kOfLayer[] = {{"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
                                 {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
                                 {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
                                 {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
                                 {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
                                 {"ffn_down", "mlp.down_proj"}};
constexpr std::string_view kGgufLayer = "blk.";
constexpr std::string_view kHuggingFaceLayer = "model.layers.";

std::optional<std::string> translate(std::string_view name, std::string_view NamePair::* from,
                                     std::string_view NamePair::* to, std::string_view from_layer,
                                     std::string_view to_layer) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view kind = name.substr(dot);  // ".weight", ".bias"
  if (kind != ".weight" && kind != ".bias") return std::nullopt;
  std::string_view base = name.substr(0, dot);
  if (!base.starts_with(from_layer)) {
    const auto* known = std::ranges::find(kOfModel, base, from);
    if (known == std::end(kOfModel)) return std::nullopt;
    return fmt::format("{}{}", known->*to, kind);
  }
  base.remove_prefix(from_layer.size());
  const size_t digits = base.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos || base[digits] != '.') return std::nullopt;
  const auto* known = std::ranges::find(kOfLayer, base.substr(digits + 1), from);
  if (known == std::end(kOfLayer)) return std::nullopt;
  return fmt::format("{}{}.{}{}", to_layer, base.substr(0, digits), known->*to, kind);
}

}  // namespace

std::optional<std::string> huggingface_name(std::string_view name) {
  return translate(name, &NamePair::gguf, &NamePair::huggingface, kGgufLayer, kHuggingFaceLayer);
}

std::optional<std::string> gguf_name(std::string_view name) {
  return translate(name, &NamePair::huggingface, &NamePair::gguf, kHuggingFaceLayer, kGgufLayer);
}

}  // namespace cria::model
