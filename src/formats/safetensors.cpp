#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/checked.h"
#include "base/json.h"

namespace cria::formats {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  uint32_t bytes;
};
constexpr DTypeRow kDTypes[] = {
    {DType::kF32, "F32", 4},        {DType::kF16, "F16", 2},        {DType::kBF16, "BF16", 2}, {DType::kF64, "F64", 8},
    {DType::kI64, "I64", 8},        {DType::kI32, "I32", 4},        {DType::kI16, "I16", 2},   {DType::kI8, "I8", 1},
    {DType::kU64, "U64", 8},        {DType::kU32, "U32", 4},        {DType::kU16, "U16", 2},   {DType::kU8, "U8", 1},
    {DType::kBool, "BOOL", 1},      {DType::kF8E4M3, "F8_E4M3", 1}, {DType::kF8E5M2, "F8_E5M2", 1},
};

const DTypeRow& row_of(DType dtype) {
  return *std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const DTypeRow& row) { return row.dtype == dtype; });
}

/// A tensor's name, cut so that a hostile one cannot fill the screen.
std::string shown(std::string_view name) {
  constexpr size_t kShown = 200;
  return name.size() <= kShown ? std::string(name) : std::string(name.substr(0, kShown)) + "…";
}

std::optional<uint64_t> unsigned_value(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<uint64_t>();
}

class Parser {
 public:
  Parser(std::span<const std::byte> data, uint64_t data_offset, std::string_view name)
      : data_(data), data_offset_(data_offset), name_(name) {}

  Result<TensorView> tensor(const std::string& key, const Json& entry) const {
    if (!entry.is_object()) return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" is not described by an object", name_, shown(key));
    TensorView tensor;
    tensor.name = key;
    CRIA_TRY(read_dtype(entry, tensor));
    CRIA_TRY(read_shape(entry, tensor));
    CRIA_TRY(read_range(entry, tensor));
    return tensor;
  }

 private:
  Status read_dtype(const Json& entry, TensorView& tensor) const {
    const auto found = entry.find("dtype");
    if (found == entry.end() || !found->is_string()) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" has no \"dtype\" string", name_, shown(tensor.name));
    }
    const auto& text = found->get_ref<const std::string&>();
    for (const DTypeRow& row : kDTypes) {
      if (row.name != text) continue;
      tensor.dtype = row.dtype;
      return {};
    }
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" has the unknown type \"{}\"", name_, shown(tensor.name),
                shown(text));
  }

  Status read_shape(const Json& entry, TensorView& tensor) const {
    constexpr size_t kMaxDimensions = 8;
    const auto found = entry.find("shape");
    if (found == entry.end() || !found->is_array() || found->size() > kMaxDimensions) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" has no \"shape\" array of at most {} dimensions", name_,
                  shown(tensor.name), kMaxDimensions);
    }
    for (const Json& dimension : *found) {
      const auto value = unsigned_value(dimension);
      if (!value) {
        return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" has the dimension {}, which is not a whole number ≥ 0",
                    name_, shown(tensor.name), shown(dimension.dump()));
      }
      tensor.shape.push_back(*value);
    }
    return {};
  }

  Status read_range(const Json& entry, TensorView& tensor) const {
    const auto found = entry.find("data_offsets");
    if (found == entry.end() || !found->is_array() || found->size() != 2 || !unsigned_value((*found)[0]) ||
        !unsigned_value((*found)[1])) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" has no \"data_offsets\" of two whole numbers", name_,
                  shown(tensor.name));
    }
    const uint64_t begin = *unsigned_value((*found)[0]);
    const uint64_t end = *unsigned_value((*found)[1]);
    if (end < begin) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" ends at byte {}, before its begin at {}", name_,
                  shown(tensor.name), with_commas(end), with_commas(begin));
    }
    if (end > data_.size()) {
      const auto in_file = checked_add(end, data_offset_);
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" ends at byte {}, past the end of the file ({} bytes)",
                  name_, shown(tensor.name), with_commas(in_file.value_or(end)),
                  with_commas(data_.size() + data_offset_));
    }
    const auto elements = checked_product(tensor.shape);
    const auto bytes = elements ? checked_multiply(*elements, dtype_bytes(tensor.dtype)) : std::nullopt;
    if (!bytes) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" has a shape whose size overflows 64 bits", name_,
                  shown(tensor.name));
    }
    if (*bytes != end - begin) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" takes {} bytes, but its shape and type make {}", name_,
                  shown(tensor.name), with_commas(end - begin), with_commas(*bytes));
    }
    tensor.data = data_.subspan(begin, end - begin);
    tensor.file_offset = data_offset_ + begin;
    return {};
  }

  std::span<const std::byte> data_;
  uint64_t data_offset_;
  std::string_view name_;
};

/// Tensors, sorted by place, must cover the data from its first byte to its last.
Status check_cover(const std::vector<TensorView>& tensors, uint64_t data_offset, uint64_t file_bytes,
                   std::string_view name) {
  uint64_t expected = data_offset;
  for (const TensorView& tensor : tensors) {
    if (tensor.file_offset != expected) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" begins at byte {}, {} the end of the one before it ({})",
                  name, shown(tensor.name), with_commas(tensor.file_offset),
                  tensor.file_offset < expected ? "before" : "after", with_commas(expected));
    }
    expected += tensor.data.size();
  }
  if (expected == file_bytes) return {};
  return fail(ErrorCode::kInvalidInput, "{}: the last tensor ends at byte {}, but the file has {} bytes", name,
              with_commas(expected), with_commas(file_bytes));
}

Status read_metadata(const Json& entry, std::string_view name, std::map<std::string, std::string>& metadata) {
  if (!entry.is_object()) return fail(ErrorCode::kInvalidInput, "{}: \"__metadata__\" is not an object", name);
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) {
      return fail(ErrorCode::kInvalidInput, "{}: the metadata \"{}\" is not a string", name, shown(key));
    }
    metadata[key] = value.get<std::string>();
  }
  return {};
}

}  // namespace

std::string_view dtype_name(DType dtype) { return row_of(dtype).name; }
uint32_t dtype_bytes(DType dtype) { return row_of(dtype).bytes; }

Result<SafetensorsHeader> parse_safetensors(std::span<const std::byte> file, std::string_view name) {
  constexpr uint64_t kLengthBytes = 8;
  if (file.size() < kLengthBytes) {
    return fail(ErrorCode::kInvalidInput, "{}: is {} bytes long, too short for a safetensors header", name, file.size());
  }
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) header_bytes |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  if (header_bytes < 2 || header_bytes > kMaxHeaderBytes) {
    return fail(ErrorCode::kInvalidInput, "{}: the header claims {} bytes, outside 2 to {}", name,
                with_commas(header_bytes), with_commas(kMaxHeaderBytes));
  }
  if (header_bytes > file.size() - kLengthBytes) {
    return fail(ErrorCode::kInvalidInput, "{}: the header claims {} bytes, but the file has only {} after its length",
                name, with_commas(header_bytes), with_commas(file.size() - kLengthBytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, header_bytes);
  CRIA_TRY_ASSIGN(const Json root, parse_json(text, fmt::format("{}: header", name), {.max_depth = 8}));
  if (!root.is_object()) return fail(ErrorCode::kInvalidInput, "{}: the header is not a JSON object", name);

  const uint64_t data_offset = kLengthBytes + header_bytes;
  const Parser parser(file.subspan(data_offset), data_offset, name);
  SafetensorsHeader header;
  for (const auto& [key, entry] : root.items()) {
    if (key == "__metadata__") {
      CRIA_TRY(read_metadata(entry, name, header.metadata));
      continue;
    }
    CRIA_TRY_ASSIGN(TensorView tensor, parser.tensor(key, entry));
    header.tensors.push_back(std::move(tensor));
  }
  std::ranges::sort(header.tensors, [](const TensorView& a, const TensorView& b) {
    return std::pair(a.file_offset, a.data.size()) < std::pair(b.file_offset, b.data.size());
  });
  CRIA_TRY(check_cover(header.tensors, data_offset, file.size(), name));
  return header;
}

Result<Safetensors> Safetensors::open(const std::filesystem::path& path) {
  CRIA_TRY_ASSIGN(MappedFile file, MappedFile::open(path));
  Safetensors result;
  result.file_ = std::make_unique<MappedFile>(std::move(file));
  CRIA_TRY_ASSIGN(result.header_, parse_safetensors(result.file_->bytes(), path.filename().string()));
  for (TensorView& tensor : result.header_.tensors) tensor.file = result.file_.get();
  return result;
}

}  // namespace cria::formats
