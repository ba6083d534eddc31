// Reading of the rotary position embedding's parameters, in both of the forms that config.json files have.
#include <algorithm>
#include <cmath>

#include "model/config_parts.h"

namespace cria::model {
namespace {

/// rope_theta in the object, if it is there. Below 2 the waves would not get longer.
Result<std::optional<double>> read_theta(const JsonFields& fields) { return fields.number("rope_theta", 2, 1e12); }

/// Refuses what this object holds beyond the parameters that are implemented.
Status check_keys(const Json& parameters, std::string_view name) {
  constexpr std::string_view kKnown[] = {"rope_theta",
                                         "rope_type",
                                         "type",
                                         "factor",
                                         "original_max_position_embeddings",
                                         "low_freq_factor",
                                         "high_freq_factor",
                                         "beta_fast",
                                         "beta_slow",
                                         "attention_factor",
                                         "mscale",
                                         "mscale_all_dim",
                                         "truncate",
                                         "finetuned",  // the last says how the model was made
                                         "partial_rotary_factor"};
  for (const auto& [key, value] : parameters.items()) {
    if (value.is_null()) continue;
    if (value.is_object()) {
      return fail(ErrorCode::kUnsupported, "{}: RoPE parameters of its own for \"{}\" are not supported", name, key);
    }
    if (std::ranges::find(kKnown, key) == std::end(kKnown) || (key == "partial_rotary_factor" && value != 1)) {
      return fail(ErrorCode::kUnsupported, "{}: the RoPE parameter \"{}\": {} is not supported", name, key,
                  shown(value));
    }
  }
  return {};
}

Status read_llama3(const JsonFields& fields, std::string_view name, RopeConfig& rope) {
  CRIA_TRY_ASSIGN(const auto low, fields.number("low_freq_factor", 1e-6, kMaxRopeFactor));
  CRIA_TRY_ASSIGN(const auto high, fields.number("high_freq_factor", 1e-6, kMaxRopeFactor));
  if (!low || !high || *high <= *low) {
    return fail(ErrorCode::kInvalidInput,
                "{}: \"high_freq_factor\" is not above \"low_freq_factor\", or one of them is missing", name);
  }
  rope.low_freq_factor = *low;
  rope.high_freq_factor = *high;
  return {};
}

/// The factor on cos and sin that YaRN's authors suggest for a stretch; `mscale` scales its logarithm.
double suggested_attention_factor(double stretch, double mscale) {
  return stretch <= 1 ? 1.0 : 0.1 * mscale * std::log(stretch) + 1.0;
}

Status read_yarn(const JsonFields& fields, RopeConfig& rope) {
  CRIA_TRY_ASSIGN(const auto attention_factor, fields.number("attention_factor", 1e-6, 1000));
  CRIA_TRY_ASSIGN(const auto mscale, fields.number("mscale", 0, 1000));
  CRIA_TRY_ASSIGN(const auto mscale_all, fields.number("mscale_all_dim", 0, 1000));
  CRIA_TRY_ASSIGN(const auto beta_fast, fields.number("beta_fast", 1e-6, kMaxRopeFactor));
  CRIA_TRY_ASSIGN(const auto beta_slow, fields.number("beta_slow", 1e-6, kMaxRopeFactor));
  CRIA_TRY_ASSIGN(const auto truncate, fields.boolean("truncate"));
  rope.beta_fast = beta_fast.value_or(32);
  rope.beta_slow = beta_slow.value_or(1);
  rope.truncate = truncate.value_or(true);
  if (attention_factor) {
    rope.attention_factor = *attention_factor;
  } else if (mscale.value_or(0) != 0 && mscale_all.value_or(0) != 0) {
    rope.attention_factor =
        suggested_attention_factor(rope.factor, *mscale) / suggested_attention_factor(rope.factor, *mscale_all);
  } else {
    rope.attention_factor = suggested_attention_factor(rope.factor, 1);
  }
  return {};
}

Result<RopeScaling> read_scaling(const JsonFields& fields, std::string_view name) {
  CRIA_TRY_ASSIGN(const auto new_key, fields.string("rope_type"));
  CRIA_TRY_ASSIGN(const auto old_key, fields.string("type"));
  const std::string type = new_key ? *new_key : old_key.value_or("default");
  if (type == "default") return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "dynamic") return RopeScaling::kDynamic;
  if (type == "llama3") return RopeScaling::kLlama3;
  if (type == "yarn") return RopeScaling::kYarn;
  return fail(ErrorCode::kUnsupported,
              "{}: RoPE of type {} is not supported; default, linear, dynamic, llama3 and yarn are", name,
              shown(Json(type)));
}

/// Positions of the first training: where given, outside the object or in it, otherwise all there are.
/// Dynamic scaling always counts from the latter, as transformers does.
Result<double> read_original_context(const JsonFields& fields, const JsonFields& outer, const ModelConfig& config,
                                     RopeScaling scaling) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  CRIA_TRY_ASSIGN(const auto outside, outer.whole(kKey, 1, kMaxContext));
  CRIA_TRY_ASSIGN(const auto inside, fields.whole(kKey, 1, kMaxContext));
  if (scaling == RopeScaling::kLlama3 || scaling == RopeScaling::kYarn) {
    return static_cast<double>(outside.value_or(inside.value_or(config.max_position_embeddings)));
  }
  return static_cast<double>(config.max_position_embeddings);
}

/// The parameters in one object; `outer` is the whole configuration.
Result<RopeConfig> read_parameters(const Json& parameters, const JsonFields& outer, const ModelConfig& config,
                                   double default_theta, std::string_view name) {
  if (!parameters.is_object()) return fail(ErrorCode::kInvalidInput, "{}: is not an object", name);
  const JsonFields fields(parameters, name);
  RopeConfig rope;
  CRIA_TRY(check_keys(parameters, name));
  CRIA_TRY_ASSIGN(const auto theta, read_theta(fields));
  rope.theta = theta.value_or(default_theta);
  CRIA_TRY_ASSIGN(rope.scaling, read_scaling(fields, name));
  CRIA_TRY_ASSIGN(rope.original_max_position, read_original_context(fields, outer, config, rope.scaling));
  if (rope.scaling == RopeScaling::kNone) return rope;
  CRIA_TRY_ASSIGN(const auto factor, fields.number("factor", 1, kMaxRopeFactor));
  if (!factor && rope.scaling != RopeScaling::kYarn) {
    return fail(ErrorCode::kInvalidInput, "{}: \"factor\" is missing", name);
  }
  rope.factor = factor.value_or(config.max_position_embeddings / rope.original_max_position);
  if (rope.scaling == RopeScaling::kLlama3) CRIA_TRY(read_llama3(fields, name, rope));
  if (rope.scaling == RopeScaling::kYarn) CRIA_TRY(read_yarn(fields, rope));
  return rope;
}

}  // namespace

Status read_rope(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  CRIA_TRY_ASSIGN(const auto theta, read_theta(fields));
  config.rope.theta = theta.value_or(10000);
  config.rope.original_max_position = config.max_position_embeddings;
  std::optional<RopeConfig> found;
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    const Json* parameters = fields.find(key);
    if (parameters == nullptr || (parameters->is_object() && parameters->empty())) continue;
    CRIA_TRY_ASSIGN(const RopeConfig rope, read_parameters(*parameters, fields, config, config.rope.theta,
                                                           fmt::format("{}: \"{}\"", name, key)));
    if (found && *found != rope) {
      return fail(ErrorCode::kInvalidInput, "{}: \"rope_scaling\" and \"rope_parameters\" do not say the same", name);
    }
    found = rope;
  }
  if (found) config.rope = *found;
  return {};
}

}  // namespace cria::model
