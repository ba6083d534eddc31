// A Hugging Face model folder: its JSON files, and the tensors of one or many safetensors files.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"

namespace cria::formats {

class HuggingFaceFolder : public Checkpoint {
 public:
  /// Opens a folder with config.json and model.safetensors, model.safetensors.index.json with its shards,
  /// or any *.safetensors. Errors: kNotFound, kIo, kInvalidInput, kUnsupported (other formats), naming
  /// the file.
  static Result<HuggingFaceFolder> open(const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }
  [[nodiscard]] const Json& config() const { return config_; }
  /// Not there: nullptr.
  [[nodiscard]] const Json* generation_config() const { return generation_config_ ? &*generation_config_ : nullptr; }
  /// The files' texts; empty where there is none.
  [[nodiscard]] const std::string& tokenizer_json() const { return tokenizer_json_; }
  [[nodiscard]] const std::string& tokenizer_config_json() const { return tokenizer_config_json_; }
  [[nodiscard]] const std::string& chat_template_jinja() const { return chat_template_jinja_; }

  [[nodiscard]] const TensorView* find(std::string_view name) const override;
  [[nodiscard]] std::vector<std::string> names() const override;

 private:
  Status open_tensors();
  Status open_index(const std::filesystem::path& index);
  Status add_file(const std::filesystem::path& file);

  std::filesystem::path path_;
  Json config_;
  std::optional<Json> generation_config_;
  std::string tokenizer_json_, tokenizer_config_json_, chat_template_jinja_;
  std::vector<std::unique_ptr<Safetensors>> files_;
  std::vector<std::unique_ptr<TensorView>> blocks_;        // of the tensors that are matrices of blocks
  std::map<std::string_view, const TensorView*> tensors_;  // the names are the views'
};

}  // namespace cria::formats
