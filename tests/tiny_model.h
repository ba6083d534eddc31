// A model folder of a test's own that can be run and damaged: a tiny random checkpoint of the golden tests with a
// tokenizer whose 384 tokens are the model's.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "formats/safetensors.h"
#include "temporary_folder.h"

namespace cria {

inline std::filesystem::path source_path(const std::filesystem::path& name) {
  return std::filesystem::path(CRIA_SOURCE_DIR) / name;
}

/// The model that comes with Cria.
inline std::filesystem::path default_model_path() { return source_path("models/cria-stories-11m"); }

inline std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path << " cannot be opened";
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class TinyModel {
 public:
  /// `name` is the folder's. The f32 checkpoint has 3 layers of 64 and a context of 512.
  explicit TinyModel(const std::string& name = "tiny") : path_(folder_.path() / name) {
    std::filesystem::create_directories(path_);
    copy("config.json", "tests/golden/models/llama-mha-f32/config.json");
    copy("model.safetensors", "tests/golden/models/llama-mha-f32/model.safetensors");
    copy("tokenizer.json", "tests/golden/tokenizers/bytes-template/tokenizer.json");
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string text(const std::string& file) const { return file_text(path_ / file); }
  void write(const std::string& file, std::string_view content) const { folder_.write(path_ / file, content); }
  void remove(const std::string& file) const { std::filesystem::remove(path_ / file); }
  void copy(const std::string& file, const std::filesystem::path& source) const {
    std::filesystem::copy_file(source_path(source), path_ / file, std::filesystem::copy_options::overwrite_existing);
  }

  /// Replaces the first `from` in a text file; the file must hold it.
  void replace(const std::string& file, std::string_view from, std::string_view to) const {
    std::string content = text(file);
    const size_t at = content.find(from);
    ASSERT_NE(at, std::string::npos) << file << " does not hold " << from;
    write(file, content.replace(at, from.size(), to));
  }

  /// Writes `value` over the first element of an f32 tensor.
  void poison(std::string_view tensor, float value) const {
    std::string content = text("model.safetensors");
    const auto header = formats::parse_safetensors(std::as_bytes(std::span(content)), "model.safetensors");
    ASSERT_TRUE(header) << header.error().message();
    for (const formats::TensorView& view : header->tensors) {
      if (view.name == tensor) std::memcpy(content.data() + view.file_offset, &value, sizeof(value));
    }
    ASSERT_NE(content, text("model.safetensors")) << "there is no tensor " << tensor;
    write("model.safetensors", content);
  }

 private:
  TemporaryFolder folder_;
  std::filesystem::path path_;
};

}  // namespace cria
