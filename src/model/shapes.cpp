#include "model/shapes.h"

#include <algorithm>
#include <charconv>

namespace cria::model {
namespace {

constexpr uint32_t kDefaultContext = 131072;

// Sources: the models' configurations as published with them.
constexpr NamedShape kShapes[] = {
    {"llama-15m", "hidden=288,layers=6,heads=6,kv_heads=6,intermediate=768,vocab=32000,tied=1"},
    {"llama-1b", "hidden=2048,layers=16,heads=32,kv_heads=8,intermediate=8192,vocab=128256,tied=1"},
    {"llama-1.1b", "hidden=2048,layers=22,heads=32,kv_heads=4,intermediate=5632,vocab=32000"},
    {"llama-3b", "hidden=3072,layers=28,heads=24,kv_heads=8,intermediate=8192,vocab=128256,tied=1"},
    {"llama-7b", "hidden=4096,layers=32,heads=32,kv_heads=32,intermediate=11008,vocab=32000"},
    {"llama-8b", "hidden=4096,layers=32,heads=32,kv_heads=8,intermediate=14336,vocab=128256"},
    {"mistral-7b", "family=mistral,hidden=4096,layers=32,heads=32,kv_heads=8,intermediate=14336,vocab=32768"},
    {"smollm2-135m", "hidden=576,layers=30,heads=9,kv_heads=3,intermediate=1536,vocab=49152,tied=1"},
    {"qwen2-0.5b", "family=qwen2,hidden=896,layers=24,heads=14,kv_heads=2,intermediate=4864,vocab=151936,tied=1"},
    {"qwen2-1.5b", "family=qwen2,hidden=1536,layers=28,heads=12,kv_heads=2,intermediate=8960,vocab=151936,tied=1"},
    {"qwen2-7b", "family=qwen2,hidden=3584,layers=28,heads=28,kv_heads=4,intermediate=18944,vocab=152064"},
    {"qwen3-0.6b",
     "family=qwen3,hidden=1024,layers=28,heads=16,kv_heads=8,head_dim=128,intermediate=3072,vocab=151936,tied=1"},
    {"qwen3-4b",
     "family=qwen3,hidden=2560,layers=36,heads=32,kv_heads=8,head_dim=128,intermediate=9728,vocab=151936,tied=1"},
    {"qwen3-8b", "family=qwen3,hidden=4096,layers=36,heads=32,kv_heads=8,head_dim=128,intermediate=12288,vocab=151936"},
};

/// What a key of a shape is called in config.json.
struct Dimension {
  std::string_view key;
  std::string_view field;
  bool required;
};
constexpr Dimension kDimensions[] = {{"hidden", "hidden_size", true},
                                     {"layers", "num_hidden_layers", true},
                                     {"heads", "num_attention_heads", true},
                                     {"kv_heads", "num_key_value_heads", true},
                                     {"intermediate", "intermediate_size", true},
                                     {"vocab", "vocab_size", true},
                                     {"head_dim", "head_dim", false},
                                     {"context", "max_position_embeddings", false}};

struct FamilyName {
  std::string_view key;
  std::string_view architecture;
};
constexpr FamilyName kFamilies[] = {{"llama", "LlamaForCausalLM"},
                                    {"mistral", "MistralForCausalLM"},
                                    {"qwen2", "Qwen2ForCausalLM"},
                                    {"qwen3", "Qwen3ForCausalLM"}};

Status set_family(std::string_view shape, std::string_view value, Json& config) {
  const auto* family = std::ranges::find(kFamilies, value, &FamilyName::key);
  if (family == std::end(kFamilies)) {
    return fail(ErrorCode::kInvalidInput,
                "the shape \"{}\": there is no family \"{}\": the families are llama, mistral, qwen2 and qwen3", shape,
                value);
  }
  config["architectures"] = Json::array({family->architecture});
  return {};
}

Status set_number(std::string_view shape, std::string_view key, std::string_view value, Json& config) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size()) {
    return fail(ErrorCode::kInvalidInput, "the shape \"{}\": {} is \"{}\", not a whole number", shape, key, value);
  }
  if (key == "tied") {
    if (number > 1) return fail(ErrorCode::kInvalidInput, "the shape \"{}\": tied is {}, not 0 or 1", shape, number);
    config["tie_word_embeddings"] = number == 1;
    return {};
  }
  const auto* dimension = std::ranges::find(kDimensions, key, &Dimension::key);
  if (dimension == std::end(kDimensions)) {
    return fail(ErrorCode::kInvalidInput,
                "the shape \"{}\": there is no dimension \"{}\": the dimensions are hidden, layers, heads, kv_heads, "
                "intermediate, vocab, head_dim, context, tied and family",
                shape, key);
  }
  config[std::string(dimension->field)] = number;
  return {};
}

/// Applies `key=value,…`; the first part may be a shape's name.
Status apply(std::string_view shape, std::string_view text, Json& config) {
  for (bool is_first = true; !text.empty(); is_first = false) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      const auto* known = std::ranges::find(kShapes, part, &NamedShape::name);
      if (!is_first || known == std::end(kShapes)) {
        std::string names;
        for (const NamedShape& named : kShapes) names += fmt::format("{}, ", named.name);
        return fail(ErrorCode::kInvalidInput,
                    "the shape \"{}\": \"{}\" is neither the name of a shape nor a dimension: the names are {}and "
                    "dimensions are written like hidden=2048,layers=22,heads=32,kv_heads=4,intermediate=5632,"
                    "vocab=32000",
                    shape, part, names);
      }
      CRIA_TRY(apply(shape, known->dimensions, config));
      continue;
    }
    const std::string_view key = part.substr(0, equals);
    const std::string_view value = part.substr(equals + 1);
    CRIA_TRY(key == "family" ? set_family(shape, value, config) : set_number(shape, key, value, config));
  }
  return {};
}

}  // namespace

std::span<const NamedShape> named_shapes() { return kShapes; }

Result<ModelConfig> parse_shape(std::string_view text) {
  Json config = {{"architectures", Json::array({"LlamaForCausalLM"})},
                 {"max_position_embeddings", kDefaultContext},
                 {"sliding_window", nullptr}};
  CRIA_TRY(apply(text, text, config));
  for (const Dimension& dimension : kDimensions) {
    if (dimension.required && !config.contains(std::string(dimension.field))) {
      return fail(ErrorCode::kInvalidInput, "the shape \"{}\" does not say {}", text, dimension.key);
    }
  }
  return parse_config(config, fmt::format("the shape \"{}\"", text));
}

}  // namespace cria::model
