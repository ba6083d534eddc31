#include "model/gguf_checkpoint.h"

#include <algorithm>
#include <cmath>

#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/row_source.h"

namespace cria::model {
namespace {

using formats::TensorView;

bool is_query_or_key(std::string_view name) {
  return name.find(".self_attn.q_proj.") != std::string_view::npos ||
         name.find(".self_attn.k_proj.") != std::string_view::npos;
}

/// The divisors of RoPE's frequencies. Errors: kInvalidInput.
Result<std::vector<float>> read_rope_factors(const TensorView& tensor, uint32_t head_dim, std::string_view name) {
  if (tensor.dtype != formats::DType::kF32 || tensor.shape != std::vector<uint64_t>{head_dim / 2}) {
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" does not hold {} numbers of type F32", name, tensor.name,
                head_dim / 2);
  }
  std::vector<float> factors = to_f32(tensor);
  for (const float factor : factors) {
    if (!(factor >= 1e-6F && factor <= 1e6F)) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" holds {}, not a divisor from 1e-6 to 1e6", name,
                  tensor.name, factor);
    }
  }
  return factors;
}

}  // namespace

Result<GgufCheckpoint> GgufCheckpoint::open(const std::filesystem::path& path) {
  GgufCheckpoint result;
  CRIA_TRY_ASSIGN(result.gguf_, formats::Gguf::open(path));
  const formats::GgufFields fields = result.gguf_.fields();
  CRIA_TRY_ASSIGN(const GgufFamily family, gguf_family(fields));
  CRIA_TRY_ASSIGN(const uint32_t head_dim, gguf_head_dim(fields, family));
  for (const TensorView& tensor : result.gguf_.tensors()) {
    if (tensor.name == kRopeFactorsName) {
      result.rope_factors_ = tensor;
      continue;
    }
    const std::string name = huggingface_name(tensor.name).value_or(tensor.name);
    const auto [added, is_new] = result.tensors_.emplace(name, tensor);
    if (!is_new) {
      return fail(ErrorCode::kInvalidInput, "{}: the tensors \"{}\" and \"{}\" are the same one", fields.name(),
                  added->second.name, tensor.name);
    }
    // Whole heads only: another shape will be refused, but must not be read beyond its end before that.
    const bool paired = family.paired_rows && is_query_or_key(name) && tensor.shape.front() % head_dim == 0;
    if (paired) added->second.paired_rows = head_dim;
  }
  return result;
}

const TensorView* GgufCheckpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

std::vector<std::string> GgufCheckpoint::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

std::string GgufCheckpoint::stored_name(std::string_view name) const {
  return gguf_name(name).value_or(std::string(name));
}

Result<ModelConfig> GgufCheckpoint::config() const {
  const formats::GgufFields fields = gguf_.fields();
  CRIA_TRY_ASSIGN(const GgufFamily family, gguf_family(fields));
  CRIA_TRY_ASSIGN(const Json json, gguf_config_json(fields, family, *this));
  CRIA_TRY_ASSIGN(ModelConfig config, parse_config(json, fields.name()));
  const auto has = [&](std::string_view name) { return find(fmt::format("model.layers.0.{}.bias", name)) != nullptr; };
  if (config.architecture == Architecture::kLlama || config.architecture == Architecture::kMistral) {
    config.qkv_bias = has("self_attn.q_proj");
    config.o_bias = has("self_attn.o_proj");
    config.mlp_bias = has("mlp.gate_proj");
  }
  if (!rope_factors_.data.empty()) {
    CRIA_TRY_ASSIGN(config.rope.divisors, read_rope_factors(rope_factors_, config.head_dim, fields.name()));
  }
  return config;
}

Result<GenerationDefaults> gguf_generation_defaults(const formats::GgufFields& fields, const ModelConfig& config) {
  GenerationDefaults defaults;
  const auto number = [&](std::string_view key, double low, double high, std::optional<float>& into) -> Status {
    CRIA_TRY_ASSIGN(const auto value, fields.number(key, low, high));
    if (value) into = static_cast<float>(*value);
    return {};
  };
  CRIA_TRY(number("general.sampling.temp", 0, 100, defaults.temperature));
  CRIA_TRY(number("general.sampling.top_p", 0, 1, defaults.top_p));
  CRIA_TRY(number("general.sampling.min_p", 0, 1, defaults.min_p));
  CRIA_TRY(number("general.sampling.penalty_repeat", 1e-3, 100, defaults.repetition_penalty));
  CRIA_TRY_ASSIGN(const auto top_k, fields.whole("general.sampling.top_k", 0, UINT32_MAX));
  if (top_k) defaults.top_k = static_cast<uint32_t>(*top_k);
  defaults.eos_token_ids = config.eos_token_ids;
  return defaults;
}

}  // namespace cria::model
