// Reader of safetensors files: 8 bytes of header length (little-endian), a JSON header, the tensors.
// Source: the format's description at github.com/huggingface/safetensors.
//
// The file is taken for hostile: every length is checked before it is used, tensors must cover the data
// exactly, without holes or overlaps, and nothing is allocated in proportion to a claimed size.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/tensor.h"

namespace cria::formats {

/// Headers above this size are refused, as in the reference implementation.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;

struct SafetensorsHeader {
  std::vector<TensorView> tensors;              ///< in the order of their data
  std::map<std::string, std::string> metadata;  ///< "__metadata__"
};

/// Parses a whole file in memory; `name` begins every message. Errors: kInvalidInput.
Result<SafetensorsHeader> parse_safetensors(std::span<const std::byte> file, std::string_view name);

class Safetensors {
 public:
  /// Maps and checks a file. Errors: kNotFound, kIo, kInvalidInput.
  static Result<Safetensors> open(const std::filesystem::path& path);

  [[nodiscard]] const std::vector<TensorView>& tensors() const { return header_.tensors; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

 private:
  std::unique_ptr<MappedFile> file_;  // at a fixed address: the views point to it
  SafetensorsHeader header_;
};

}  // namespace cria::formats
