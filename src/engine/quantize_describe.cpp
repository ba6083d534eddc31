#include "engine/quantize_describe.h"

#include "model/gguf_config.h"
#include "model/gguf_export.h"
#include "text/gguf_export.h"

namespace cria::engine {
namespace {

/// "general.file_type": the type of most matrices, as other programs number them.
uint32_t file_type(model::Precision precision) {
  switch (precision) {
    case model::Precision::kF32: return 0;
    case model::Precision::kInt4: return 2;
    case model::Precision::kInt8: return 7;
    case model::Precision::kQ4_K: return 14;
    case model::Precision::kQ5_K: return 16;
    case model::Precision::kQ6_K: return 18;
    case model::Precision::kBF16: return 32;
    default: return 1;
  }
}

constexpr const char* kChatTemplateFile = "chat_template.jinja";  // of folders, where it is not in a JSON file
constexpr uint32_t kQuantizationVersion = 2;                      // of the block layouts

bool is_of_types(std::string_view key) { return key == "general.file_type" || key == "general.quantization_version"; }

bool is_of_files(std::string_view key) { return key == formats::kGgufAlignmentKey || key.starts_with("split."); }

Status describe_tokenizer(const OpenedModel& opened, formats::GgufWriter& writer) {
  const std::string name = (opened.files.path() / "tokenizer.json").string();
  const std::string& json = opened.files.folder()->tokenizer_json();
  CRIA_TRY_ASSIGN(const text::GgufVocabulary vocabulary, text::gguf_vocabulary(json, opened.config.vocab_size, name));
  CRIA_TRY_ASSIGN(const text::Tokenizer tokenizer, opened.files.tokenizer());
  const std::string prefix = "tokenizer.ggml.";
  writer.add(prefix + "model", vocabulary.model);
  writer.add(prefix + "pre", vocabulary.pre);
  writer.add(prefix + "tokens", vocabulary.tokens);
  if (vocabulary.model == "llama") writer.add(prefix + "scores", std::span<const float>(vocabulary.scores));
  writer.add(prefix + "token_type", std::span<const int32_t>(vocabulary.types));
  if (vocabulary.model == "gpt2") writer.add(prefix + "merges", vocabulary.merges);
  const auto& config = opened.config;
  if (const auto bos = config.bos_token_id ? config.bos_token_id : tokenizer.bos_token()) {
    writer.add(prefix + "bos_token_id", *bos);
  }
  const auto& ends = opened.defaults.eos_token_ids.empty() ? config.eos_token_ids : opened.defaults.eos_token_ids;
  if (!ends.empty()) writer.add(prefix + "eos_token_id", ends.front());
  if (ends.size() > 1) writer.add(prefix + "eot_token_id", ends[1]);
  if (ends.size() > 2) writer.add(prefix + "eom_token_id", ends[2]);
  writer.add(prefix + "add_bos_token", vocabulary.add_bos);
  writer.add(prefix + "add_eos_token", vocabulary.add_eos);
  writer.add(prefix + "add_space_prefix", vocabulary.add_space_prefix);
  writer.add("tokenizer.huggingface.json", json);
  CRIA_TRY_ASSIGN(const auto chat_template, opened.files.chat_template());
  if (chat_template) writer.add("tokenizer.chat_template", *chat_template);
  return {};
}

void describe_sampling(const model::GenerationDefaults& defaults, formats::GgufWriter& writer) {
  const auto add = [&](std::string_view key, const std::optional<float>& value) {
    if (value) writer.add(key, *value);
  };
  const bool greedy = defaults.do_sample == false;
  add("general.sampling.temp", greedy && !defaults.temperature ? 0.0F : defaults.temperature);
  add("general.sampling.top_p", defaults.top_p);
  add("general.sampling.min_p", defaults.min_p);
  add("general.sampling.penalty_repeat", defaults.repetition_penalty);
  if (defaults.top_k) writer.add("general.sampling.top_k", *defaults.top_k);
}

std::string file_text(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

Result<std::map<std::string, std::string>> texts_of_gguf(const OpenedModel& opened) {
  if (!opened.config.rope.divisors.empty()) {
    return fail(ErrorCode::kUnsupported, "config.json has no place for the RoPE factors of \"{}\"",
                model::kRopeFactorsName);
  }
  const model::GgufCheckpoint& gguf = *opened.files.gguf();
  const formats::GgufFields fields = gguf.gguf().fields();
  CRIA_TRY_ASSIGN(const model::GgufFamily family, model::gguf_family(fields));
  CRIA_TRY_ASSIGN(Json config, model::gguf_config_json(fields, family, gguf));
  if (family.name == "llama") {
    if (opened.config.qkv_bias != opened.config.o_bias) {
      return fail(ErrorCode::kUnsupported,
                  "config.json of Llama cannot say that only some of the attention has biases");
    }
    config["attention_bias"] = opened.config.qkv_bias;
    config["mlp_bias"] = opened.config.mlp_bias;
  }
  std::map<std::string, std::string> texts = {{"config.json", file_text(config)}};
  if (!opened.files.has_tokenizer()) return texts;
  CRIA_TRY_ASSIGN(const text::TokenizerFiles tokenizer, opened.files.gguf_tokenizer_files());
  Json settings = Json::parse(tokenizer.tokenizer_config);
  CRIA_TRY_ASSIGN(const auto chat_template, opened.files.chat_template());
  if (chat_template) settings["chat_template"] = *chat_template;
  texts["tokenizer.json"] = file_text(tokenizer.tokenizer);
  texts["tokenizer_config.json"] = file_text(settings);
  return texts;
}

}  // namespace

Status describe_model(const OpenedModel& opened, model::Precision precision, formats::GgufWriter& writer) {
  if (opened.files.gguf() != nullptr) {
    for (const auto& [key, value] : opened.files.gguf()->gguf().metadata()) {
      const bool stays = precision == model::Precision::kAsStored || !is_of_types(key);
      if (stays && !is_of_files(key)) writer.add(key, value);
    }
    if (precision == model::Precision::kAsStored) return {};
  } else {
    CRIA_TRY(model::describe_config(opened.config, writer));
    const std::filesystem::path& path = opened.files.path();
    writer.add("general.name", (path.has_filename() ? path : path.parent_path()).filename().string());
    describe_sampling(opened.defaults, writer);
    if (opened.files.has_tokenizer()) CRIA_TRY(describe_tokenizer(opened, writer));
  }
  writer.add("general.file_type", file_type(precision));
  writer.add("general.quantization_version", kQuantizationVersion);
  return {};
}

Result<std::map<std::string, std::string>> folder_texts(const OpenedModel& opened) {
  if (opened.files.gguf() != nullptr) return texts_of_gguf(opened);
  const formats::HuggingFaceFolder& folder = *opened.files.folder();
  std::map<std::string, std::string> texts = {{"config.json", file_text(folder.config())}};
  if (folder.generation_config() != nullptr) texts["generation_config.json"] = file_text(*folder.generation_config());
  if (!folder.tokenizer_json().empty()) texts["tokenizer.json"] = folder.tokenizer_json();
  if (!folder.tokenizer_config_json().empty()) texts["tokenizer_config.json"] = folder.tokenizer_config_json();
  const std::filesystem::path chat = folder.path() / kChatTemplateFile;
  if (std::error_code ignored; std::filesystem::is_regular_file(chat, ignored)) {
    CRIA_TRY_ASSIGN(const MappedFile file, MappedFile::open(chat));
    texts[kChatTemplateFile].assign(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  }
  return texts;
}

}  // namespace cria::engine
