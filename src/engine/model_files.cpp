#include "engine/model_files.h"

#include <algorithm>

#include "base/json_fields.h"
#include "text/gguf_tokenizer.h"
#include "text/unicode.h"

namespace cria::engine {
namespace {

namespace fs = std::filesystem;

/// The GGUF file that a folder without safetensors stands for: its only one, or the first of the only split model.
std::optional<fs::path> gguf_in_folder(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return std::nullopt;
  std::vector<fs::path> files;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const size_t of = name.rfind("-of-");
    const bool is_later_part = of != std::string::npos && of >= 5 && name.substr(of - 5, 5) != "00001";
    if (entry->path().extension() == ".safetensors") return std::nullopt;
    if (entry->path().extension() == ".gguf" && !is_later_part) files.push_back(entry->path());
  }
  if (files.size() != 1) return std::nullopt;
  return files.front();
}

Result<text::GgufTokenizer> read_gguf_tokenizer(const formats::GgufFields& fields) {
  text::GgufTokenizer tokenizer;
  const std::string prefix = "tokenizer.ggml.";
  CRIA_TRY_ASSIGN(const auto model, fields.string(prefix + "model"));
  tokenizer.model = model.value_or("");
  CRIA_TRY_ASSIGN(tokenizer.pre, fields.string(prefix + "pre"));
  CRIA_TRY_ASSIGN(tokenizer.tokens, fields.strings(prefix + "tokens"));
  CRIA_TRY_ASSIGN(tokenizer.scores, fields.numbers(prefix + "scores"));
  CRIA_TRY_ASSIGN(tokenizer.types, fields.wholes(prefix + "token_type", 0, UINT32_MAX));
  CRIA_TRY_ASSIGN(tokenizer.merges, fields.strings(prefix + "merges"));
  CRIA_TRY_ASSIGN(tokenizer.bos, fields.whole(prefix + "bos_token_id", 0, UINT32_MAX));
  CRIA_TRY_ASSIGN(tokenizer.eos, fields.whole(prefix + "eos_token_id", 0, UINT32_MAX));
  CRIA_TRY_ASSIGN(tokenizer.unknown, fields.whole(prefix + "unknown_token_id", 0, UINT32_MAX));
  CRIA_TRY_ASSIGN(tokenizer.add_bos, fields.boolean(prefix + "add_bos_token"));
  CRIA_TRY_ASSIGN(tokenizer.add_eos, fields.boolean(prefix + "add_eos_token"));
  CRIA_TRY_ASSIGN(tokenizer.add_space_prefix, fields.boolean(prefix + "add_space_prefix"));
  if (!tokenizer.bos && tokenizer.model == "llama") tokenizer.bos = 1;  // SentencePiece's own order of tokens
  if (!tokenizer.eos && tokenizer.model == "llama") tokenizer.eos = 2;
  return tokenizer;
}

}  // namespace

Result<ModelFiles> ModelFiles::open(const fs::path& path) {
  ModelFiles files;
  const fs::path chosen = gguf_in_folder(path).value_or(path);
  if (formats::is_gguf(chosen)) {
    auto opened = model::GgufCheckpoint::open(chosen);
    if (!opened) {
      return std::unexpected(std::move(opened).error().while_doing(fmt::format("opening {}", path.string())));
    }
    files.gguf_ = std::make_unique<model::GgufCheckpoint>(*std::move(opened));
    return files;
  }
  CRIA_TRY_ASSIGN(formats::HuggingFaceFolder folder, formats::HuggingFaceFolder::open(path));
  files.folder_ = std::make_unique<formats::HuggingFaceFolder>(std::move(folder));
  return files;
}

const formats::Checkpoint& ModelFiles::checkpoint() const {
  if (gguf_ != nullptr) return *gguf_;
  return *folder_;
}

Result<model::ModelConfig> ModelFiles::config() const {
  if (gguf_ != nullptr) return gguf_->config();
  return model::parse_config(folder_->config(), (path() / "config.json").string());
}

Result<model::GenerationDefaults> ModelFiles::defaults(const model::ModelConfig& config) const {
  if (gguf_ != nullptr) return model::gguf_generation_defaults(gguf_->gguf().fields(), config);
  if (folder_->generation_config() == nullptr) return model::GenerationDefaults();
  return model::parse_generation_defaults(*folder_->generation_config(), config.vocab_size,
                                          (path() / "generation_config.json").string());
}

bool ModelFiles::has_tokenizer() const {
  return gguf_ != nullptr ? gguf_->gguf().fields().contains("tokenizer.ggml.model")
                          : !folder_->tokenizer_json().empty();
}

Result<text::Tokenizer> ModelFiles::tokenizer() const {
  if (!has_tokenizer()) {
    return fail(ErrorCode::kNotFound, "{}: has no {}, so that no text can be read", path().string(),
                gguf_ != nullptr ? "tokenizer (\"tokenizer.ggml.model\")" : "tokenizer.json");
  }
  if (gguf_ == nullptr) {
    return text::Tokenizer::from_json(folder_->tokenizer_json(), folder_->tokenizer_config_json(),
                                      (path() / "tokenizer.json").string());
  }
  CRIA_TRY_ASSIGN(const text::TokenizerFiles files, gguf_tokenizer_files());
  return text::Tokenizer::from_document(files.tokenizer, files.tokenizer_config, gguf_->gguf().fields().name());
}

Result<text::TokenizerFiles> ModelFiles::gguf_tokenizer_files() const {
  const formats::GgufFields fields = gguf_->gguf().fields();
  CRIA_TRY_ASSIGN(const text::GgufTokenizer described, read_gguf_tokenizer(fields));
  CRIA_TRY_ASSIGN(const auto whole, fields.string("tokenizer.huggingface.json"));
  if (!whole) return text::tokenizer_of_gguf(described, fields.name());
  CRIA_TRY_ASSIGN(Json json, parse_json(*whole, fmt::format("{}: \"tokenizer.huggingface.json\"", fields.name())));
  return text::TokenizerFiles{std::move(json), text::tokenizer_config_of_gguf(described)};
}

Result<std::optional<std::string>> ModelFiles::chat_template() const {
  if (gguf_ != nullptr) {
    const formats::GgufFields fields = gguf_->gguf().fields();
    CRIA_TRY_ASSIGN(const auto text, fields.string("tokenizer.chat_template"));
    if (!text) return std::nullopt;
    if (text::find_invalid_utf8(*text)) {
      return fail(ErrorCode::kInvalidInput, "{}: \"tokenizer.chat_template\" is not valid UTF-8", fields.name());
    }
    return std::string(*text);
  }
  if (folder_->tokenizer_config_json().empty()) return std::nullopt;
  const std::string name = (path() / "tokenizer_config.json").string();
  CRIA_TRY_ASSIGN(const Json settings, parse_json(folder_->tokenizer_config_json(), name));
  if (!settings.is_object()) return fail(ErrorCode::kInvalidInput, "{}: is not a JSON object", name);
  const auto list = settings.find("chat_template");
  if (list == settings.end() || !list->is_array()) return JsonFields(settings, name).string("chat_template");
  for (const Json& entry : *list) {  // named ones, of which "default" is the one that is meant
    if (entry.is_object() && entry.contains("name") && entry["name"] == "default") {
      return JsonFields(entry, name).string("template");
    }
  }
  return std::nullopt;
}

}  // namespace cria::engine
