// A model as it lies on the disk, opened and mapped but not loaded: a Hugging Face folder or a GGUF file.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "formats/huggingface.h"
#include "model/gguf_checkpoint.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer.h"

namespace cria::engine {

class ModelFiles {
 public:
  /// Opens a folder with config.json, a GGUF file (the first one of a split model), or a folder that holds one such
  /// file. Errors name the file and what is wrong with it.
  static Result<ModelFiles> open(const std::filesystem::path& path);

  /// The path that was opened.
  [[nodiscard]] const std::filesystem::path& path() const { return checkpoint().path(); }
  [[nodiscard]] const formats::Checkpoint& checkpoint() const;
  /// The folder, or nullptr for a GGUF file; and the other way round.
  [[nodiscard]] const formats::HuggingFaceFolder* folder() const { return folder_.get(); }
  [[nodiscard]] const model::GgufCheckpoint* gguf() const { return gguf_.get(); }

  /// Errors: kInvalidInput, kUnsupported.
  [[nodiscard]] Result<model::ModelConfig> config() const;
  /// What the files suggest for sampling.
  [[nodiscard]] Result<model::GenerationDefaults> defaults(const model::ModelConfig& config) const;

  [[nodiscard]] bool has_tokenizer() const;
  /// Errors: kNotFound where the files have none, kInvalidInput, kUnsupported.
  [[nodiscard]] Result<text::Tokenizer> tokenizer() const;
  /// Of a GGUF file that has a tokenizer: the files that say the same in a folder. Errors: kInvalidInput, kUnsupported.
  [[nodiscard]] Result<text::TokenizerFiles> gguf_tokenizer_files() const;
  /// The chat template in Jinja ("tokenizer.chat_template" of a GGUF file, "chat_template" of tokenizer_config.json);
  /// nothing where there is none. Errors: kInvalidInput where it is no text.
  [[nodiscard]] Result<std::optional<std::string>> chat_template() const;

 private:
  std::unique_ptr<formats::HuggingFaceFolder> folder_;  // at fixed addresses: views and formats_from point to them
  std::unique_ptr<model::GgufCheckpoint> gguf_;
};

}  // namespace cria::engine
