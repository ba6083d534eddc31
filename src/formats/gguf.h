// Reader of GGUF files, versions 2 and 3: metadata, a directory of tensors, the tensors; in one file or split over
// many. Source: the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md).
//
// The file is taken for hostile: every length is checked before it is used, tensors must follow each other without
// holes or overlaps, and nothing is allocated in proportion to a claimed size.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/gguf_value.h"
#include "formats/tensor.h"

namespace cria::formats {

/// Tensors begin at multiples of this, where the file does not say another.
inline constexpr uint32_t kGgufAlignment = 32;
inline constexpr std::string_view kGgufAlignmentKey = "general.alignment";

struct GgufContents {
  uint32_t version = 0;
  uint32_t alignment = kGgufAlignment;
  GgufMetadata metadata;
  /// In the order of the file. Shapes are row-major as everywhere in Cria, so [rows, columns]: the reverse of the
  /// file's. The views have no MappedFile.
  std::vector<TensorView> tensors;
};

/// Parses a whole file in memory, without copying its data; `name` begins every message. Memory grows with the keys
/// and tensors that are there only. Errors: kInvalidInput; kUnsupported for other versions and for types of tensors
/// that Cria does not know.
Result<GgufContents> parse_gguf(std::span<const std::byte> file, std::string_view name);

/// Number of a tensor type in a file, or nothing for types that GGUF does not have.
[[nodiscard]] std::optional<uint32_t> gguf_tensor_type(DType dtype);

class Gguf {
 public:
  /// Maps and checks a file, and the others where it is the first of a split model ("…-00001-of-00003.gguf").
  /// Errors: kNotFound, kIo, kInvalidInput, kUnsupported; a later part of a split model is refused, naming the first.
  static Result<Gguf> open(const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Of the first file.
  [[nodiscard]] GgufFields fields() const { return {parts_.front().contents.metadata, name_}; }
  [[nodiscard]] const GgufMetadata& metadata() const { return parts_.front().contents.metadata; }
  /// Of all files, in their order. Names are unique.
  [[nodiscard]] const std::vector<TensorView>& tensors() const { return tensors_; }

 private:
  struct Part {
    std::unique_ptr<MappedFile> file;  // at a fixed address: the views point to it
    GgufContents contents;
  };
  Status add_part(const std::filesystem::path& path);
  Status open_others(uint64_t count);

  std::filesystem::path path_;
  std::string name_;
  std::vector<Part> parts_;
  std::vector<TensorView> tensors_;
};

/// Whether the path looks like a GGUF file, by its name or its first four bytes.
[[nodiscard]] bool is_gguf(const std::filesystem::path& path);

}  // namespace cria::formats
