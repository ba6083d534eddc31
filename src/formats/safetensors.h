// Reader and writer of safetensors files: 8 bytes of header length (little-endian), a JSON header, the tensors.
// Source: the format's description at github.com/huggingface/safetensors.
//
// The file is taken for hostile: every length is checked before it is used, tensors must cover the data
// exactly, without holes or overlaps, and nothing is allocated in proportion to a claimed size.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
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

/// Parses a whole file in memory, without copying its data; `name` begins every message. The views have
/// no MappedFile. Memory grows with the tensors described only. Errors: kInvalidInput.
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

/// Writes a file that `parse_safetensors` accepts, whole or not at all: see platform::write_file_atomically.
/// The widest types come first, so that all data is aligned to its type; else they come as they are given. Only name,
/// dtype, shape and data of each view are used. Errors: kInvalidInput where names repeat or are not UTF-8 or the data
/// does not fit the shape, kIo.
Status write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                         const std::map<std::string, std::string>& metadata = {});

/// Writes all bytes of a tensor, in as many pieces as it likes.
using ProduceTensor = std::function<Status(const TensorView&, const platform::WriteBytes&)>;
/// The same for data that are made while they are written, one tensor after the other: the views' data are not used.
Status write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                         const std::map<std::string, std::string>& metadata, const ProduceTensor& produce);

}  // namespace cria::formats
