// Writer of GGUF files, version 3: metadata and a directory of tensors first, then each tensor's data in turn.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"

namespace cria::formats {

class GgufWriter {
 public:
  void add(std::string_view key, uint32_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, bool value);
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) { add(key, std::string_view(value)); }
  /// A value as it stands in another file.
  void add(std::string_view key, const GgufValue& value);
  void add(std::string_view key, const std::string& value) { add(key, std::string_view(value)); }
  void add(std::string_view key, std::span<const std::string> values);
  void add(std::string_view key, std::span<const float> values);
  void add(std::string_view key, std::span<const int32_t> values);

  /// Announces a tensor of row-major shape [rows, columns] or [elements]; its data follow in the order of the calls.
  /// Errors: kInvalidInput where rows are no whole blocks, kUnsupported for types that GGUF does not have.
  Status add_tensor(std::string_view name, DType dtype, std::span<const uint64_t> shape);

  /// All before the data, which must each be followed by padding(its bytes).
  [[nodiscard]] std::string header() const;
  /// Zeros up to the next multiple of the alignment.
  [[nodiscard]] static std::string padding(uint64_t bytes);

 private:
  void begin(std::string_view key, GgufType type);
  void begin_array(std::string_view key, GgufType type, uint64_t count);

  std::string fields_, entries_;
  uint64_t field_count_ = 0, entry_count_ = 0, data_bytes_ = 0;
};

}  // namespace cria::formats
