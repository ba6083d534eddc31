#include "formats/gguf_write.h"

#include <fmt/ranges.h>

#include <bit>
#include <ranges>

#include "base/checked.h"
#include "formats/gguf_header.h"

namespace cria::formats {
namespace {

constexpr uint32_t kVersion = 3;

/// Appends the `bytes` lowest bytes of a number, the lowest first.
void append(std::string& out, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

void append_string(std::string& out, std::string_view text) {
  append(out, text.size(), 8);
  out += text;
}

}  // namespace

void GgufWriter::begin(std::string_view key, GgufType type) {
  append_string(fields_, key);
  append(fields_, static_cast<uint32_t>(type), 4);
  ++field_count_;
}

void GgufWriter::begin_array(std::string_view key, GgufType type, uint64_t count) {
  begin(key, GgufType::kArray);
  append(fields_, static_cast<uint32_t>(type), 4);
  append(fields_, count, 8);
}

void GgufWriter::add(std::string_view key, uint32_t value) {
  begin(key, GgufType::kU32);
  append(fields_, value, 4);
}

void GgufWriter::add(std::string_view key, float value) {
  begin(key, GgufType::kF32);
  append(fields_, std::bit_cast<uint32_t>(value), 4);
}

void GgufWriter::add(std::string_view key, bool value) {
  begin(key, GgufType::kBool);
  append(fields_, value ? 1 : 0, 1);
}

void GgufWriter::add(std::string_view key, std::string_view value) {
  begin(key, GgufType::kString);
  append_string(fields_, value);
}

void GgufWriter::add(std::string_view key, const GgufValue& value) {
  if (value.is_array) {
    begin_array(key, value.type, value.count);
  } else {
    begin(key, value.type);
  }
  fields_.append(reinterpret_cast<const char*>(value.data.data()), value.data.size());
}

void GgufWriter::add(std::string_view key, std::span<const std::string> values) {
  begin_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) append_string(fields_, value);
}

void GgufWriter::add(std::string_view key, std::span<const float> values) {
  begin_array(key, GgufType::kF32, values.size());
  for (const float value : values) append(fields_, std::bit_cast<uint32_t>(value), 4);
}

void GgufWriter::add(std::string_view key, std::span<const int32_t> values) {
  begin_array(key, GgufType::kI32, values.size());
  for (const int32_t value : values) append(fields_, static_cast<uint32_t>(value), 4);
}

Status GgufWriter::add_tensor(std::string_view name, DType dtype, std::span<const uint64_t> shape) {
  const auto type = gguf_tensor_type(dtype);
  if (!type) {
    return fail(ErrorCode::kUnsupported, "tensor \"{}\" is of type {}, which GGUF files do not have", name,
                dtype_name(dtype));
  }
  const auto bytes = tensor_bytes(shape, dtype);
  if (!bytes) {
    return fail(ErrorCode::kInvalidInput, "tensor \"{}\" of shape [{}] cannot be stored as {}", name,
                fmt::join(shape, ", "), dtype_name(dtype));
  }
  append_string(entries_, name);
  append(entries_, shape.size(), 4);
  for (const uint64_t dimension : shape | std::views::reverse) append(entries_, dimension, 8);
  append(entries_, *type, 4);
  append(entries_, data_bytes_, 8);
  data_bytes_ += round_up<uint64_t>(*bytes, kGgufAlignment);
  ++entry_count_;
  return {};
}

std::string GgufWriter::header() const {
  std::string out(kGgufMagic.begin(), kGgufMagic.end());
  append(out, kVersion, 4);
  append(out, entry_count_, 8);
  append(out, field_count_, 8);
  out += fields_;
  out += entries_;
  return out + padding(out.size());
}

std::string GgufWriter::padding(uint64_t bytes) {
  return std::string(round_up<uint64_t>(bytes, kGgufAlignment) - bytes, '\0');
}

}  // namespace cria::formats
