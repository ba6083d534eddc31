// The writer of safetensors files.
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>

#include "base/json.h"
#include "formats/safetensors.h"
#include "formats/safetensors_header.h"

namespace cria::formats {
namespace {

constexpr size_t kAlignment = 8;

/// A JSON string with its quotes. Errors: kInvalidInput where it is not UTF-8.
Result<std::string> quoted(std::string_view text, std::string_view file) {
  // dump() throws where it is not told to replace: a text that is changed by the replacement is not UTF-8.
  const std::string json = Json(text).dump(-1, ' ', false, Json::error_handler_t::ignore);
  const auto back = parse_json(json, file);
  if (!back || back->get_ref<const std::string&>() != text) {
    return fail(ErrorCode::kInvalidInput, "{}: the name \"{}\" is not valid UTF-8", file, shown_name(json));
  }
  return json;
}

/// Bytes of a tensor whose shape has been checked.
uint64_t bytes_of(const TensorView& tensor) { return *tensor_bytes(tensor.shape, tensor.dtype); }

Result<std::vector<const TensorView*>> in_file_order(std::span<const TensorView> tensors, std::string_view file) {
  std::vector<const TensorView*> order;
  for (const TensorView& tensor : tensors) {
    if (!tensor_bytes(tensor.shape, tensor.dtype) || tensor.shape.size() > kMaxDimensions ||
        dtype_block(tensor.dtype) != 1) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" cannot have the shape [{}] of {}", file,
                  shown_name(tensor.name), fmt::join(tensor.shape, ", "), dtype_name(tensor.dtype));
    }
    if (tensor.name == kMetadataKey) {
      return fail(ErrorCode::kInvalidInput, "{}: a tensor cannot have the name \"{}\"", file, kMetadataKey);
    }
    order.push_back(&tensor);
  }
  std::set<std::string_view> names;
  for (const TensorView& tensor : tensors) {
    if (names.insert(tensor.name).second) continue;
    return fail(ErrorCode::kInvalidInput, "{}: two tensors have the name \"{}\"", file, shown_name(tensor.name));
  }
  std::ranges::stable_sort(order, std::greater(), [](const TensorView* tensor) { return dtype_bytes(tensor->dtype); });
  return order;
}

Result<std::string> header_text(std::span<const TensorView* const> order,
                                const std::map<std::string, std::string>& metadata, std::string_view file) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += fmt::format("\"{}\":{{", kMetadataKey);
    for (const auto& [key, value] : metadata) {
      CRIA_TRY_ASSIGN(const std::string json_key, quoted(key, file));
      CRIA_TRY_ASSIGN(const std::string json_value, quoted(value, file));
      text += fmt::format("{}{}:{}", text.ends_with('{') ? "" : ",", json_key, json_value);
    }
    text += "}";
  }
  uint64_t begin = 0;
  for (const TensorView* tensor : order) {
    CRIA_TRY_ASSIGN(const std::string name, quoted(tensor->name, file));
    const uint64_t end = begin + bytes_of(*tensor);
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", text == "{" ? "" : ",",
                        name, dtype_name(tensor->dtype), fmt::join(tensor->shape, ","), begin, end);
    begin = end;
  }
  text += "}";
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  if (text.size() > kMaxHeaderBytes) {
    return fail(ErrorCode::kInvalidInput, "{}: the header would take {} bytes, more than {}", file,
                with_commas(text.size()), with_commas(kMaxHeaderBytes));
  }
  return text;
}

}  // namespace

Status write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                         const std::map<std::string, std::string>& metadata, const ProduceTensor& produce) {
  const std::string file = path.filename().string();
  CRIA_TRY_ASSIGN(const std::vector<const TensorView*> order, in_file_order(tensors, file));
  CRIA_TRY_ASSIGN(const std::string text, header_text(order, metadata, file));
  std::array<std::byte, 8> length;
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<std::byte>(uint64_t{text.size()} >> (8 * i));
  return platform::write_file_in_pieces(path, [&](const platform::WriteBytes& write) -> Status {
    CRIA_TRY(write(length));
    CRIA_TRY(write(std::as_bytes(std::span(text))));
    for (const TensorView* tensor : order) CRIA_TRY(produce(*tensor, write));
    return {};
  });
}

Status write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                         const std::map<std::string, std::string>& metadata) {
  for (const TensorView& tensor : tensors) {
    if (tensor_bytes(tensor.shape, tensor.dtype) == tensor.data.size()) continue;
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" has {} bytes, which do not fit its shape [{}] of {}",
                path.filename().string(), shown_name(tensor.name), with_commas(tensor.data.size()),
                fmt::join(tensor.shape, ", "), dtype_name(tensor.dtype));
  }
  return write_safetensors(path, tensors, metadata, [](const TensorView& tensor, const platform::WriteBytes& write) {
    return write(tensor.data);
  });
}

}  // namespace cria::formats
