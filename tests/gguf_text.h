// Builds GGUF files in memory for tests, right ones and wrong ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

/// The bytes of a little-endian number.
template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

/// A string as GGUF has it: its length, its bytes.
inline std::string gguf_string(std::string_view text) { return raw(uint64_t{text.size()}) + std::string(text); }

/// A file that grows field by field and tensor by tensor.
class GgufText {
 public:
  uint32_t version = 3;
  uint32_t alignment = 32;

  /// A field of any type whose value the caller has written.
  GgufText& field(std::string_view key, uint32_t type, std::string_view value) {
    fields_ += gguf_string(key) + raw(type) + std::string(value);
    ++field_count_;
    return *this;
  }
  GgufText& u32(std::string_view key, uint32_t value) { return field(key, 4, raw(value)); }
  GgufText& i32(std::string_view key, int32_t value) { return field(key, 5, raw(value)); }
  GgufText& f32(std::string_view key, float value) { return field(key, 6, raw(value)); }
  GgufText& boolean(std::string_view key, bool value) { return field(key, 7, raw(value)); }
  GgufText& string(std::string_view key, std::string_view value) { return field(key, 8, gguf_string(value)); }
  GgufText& strings(std::string_view key, const std::vector<std::string>& values) {
    std::string all;
    for (const std::string& value : values) all += gguf_string(value);
    return array(key, 8, values.size(), all);
  }
  template <typename T>
  GgufText& numbers(std::string_view key, uint32_t type, const std::vector<T>& values) {
    std::string all;
    for (const T value : values) all += raw(value);
    return array(key, type, values.size(), all);
  }
  GgufText& array(std::string_view key, uint32_t type, uint64_t count, std::string_view values) {
    return field(key, 9, raw(type) + raw(count) + std::string(values));
  }

  /// A tensor with its data; `dimensions` in the file's order, columns first.
  GgufText& tensor(std::string_view name, const std::vector<uint64_t>& dimensions, uint32_t type,
                   std::string_view data) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    entry(name, dimensions, type, data_.size());
    data_ += data;
    return *this;
  }
  /// Only the tensor's line in the directory.
  GgufText& entry(std::string_view name, const std::vector<uint64_t>& dimensions, uint32_t type, uint64_t offset) {
    entries_ += gguf_string(name) + raw(static_cast<uint32_t>(dimensions.size()));
    for (const uint64_t dimension : dimensions) entries_ += raw(dimension);
    entries_ += raw(type) + raw(offset);
    ++entry_count_;
    return *this;
  }

  [[nodiscard]] std::string file() const { return file(entry_count_, field_count_); }
  /// With counts that need not be right.
  [[nodiscard]] std::string file(uint64_t tensors, uint64_t fields) const {
    std::string all = "GGUF" + raw(version) + raw(tensors) + raw(fields) + fields_ + entries_;
    if (!data_.empty()) all.resize((all.size() + alignment - 1) / alignment * alignment);
    return all + data_;
  }

 private:
  std::string fields_, entries_, data_;
  uint64_t field_count_ = 0, entry_count_ = 0;
};

}  // namespace cria
