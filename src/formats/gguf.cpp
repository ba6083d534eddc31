#include "formats/gguf.h"

#include <fmt/ranges.h>

#include <bit>
#include <charconv>
#include <fstream>
#include <set>

#include "base/checked.h"
#include "formats/gguf_header.h"
#include "formats/safetensors_header.h"

namespace cria::formats {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kMaxAlignment = 1U << 16;
constexpr uint64_t kMaxParts = 99'999;  // what fits the names of split files
constexpr std::string_view kSplitNumber = "split.no";
constexpr std::string_view kSplitCount = "split.count";
constexpr std::string_view kSplitTensors = "split.tensors.count";

Result<uint32_t> read_alignment(const GgufFields& fields) {
  const GgufValue* value = fields.find(kGgufAlignmentKey);
  if (value != nullptr && value->type != GgufType::kU32) {
    return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is of type {}, not uint32", fields.name(), kGgufAlignmentKey,
                gguf_type_name(value->type));
  }
  CRIA_TRY_ASSIGN(const auto alignment, fields.whole(kGgufAlignmentKey, 8, kMaxAlignment));
  if (alignment && !std::has_single_bit(*alignment)) {
    return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is {}, not a power of two", fields.name(), kGgufAlignmentKey,
                *alignment);
  }
  return static_cast<uint32_t>(alignment.value_or(kGgufAlignment));
}

/// Compares what the directory says of a tensor with the file and makes the view. `data_offset` is where the data
/// begins; `expected` where this tensor must begin, counted from there.
Result<TensorView> make_view(GgufEntry&& entry, std::span<const std::byte> file, uint64_t data_offset,
                             uint64_t expected, std::string_view name) {
  const auto bytes = tensor_bytes(entry.shape, entry.dtype);
  if (!bytes) {
    const bool uneven = entry.shape.back() % dtype_block(entry.dtype) != 0;
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" has the shape [{}], {}", name, entry.name,
                fmt::join(entry.shape, ", "),
                uneven ? fmt::format("whose rows are not whole blocks of {} as {} needs", dtype_block(entry.dtype),
                                     dtype_name(entry.dtype))
                       : "whose size overflows 64 bits");
  }
  if (entry.offset != expected) {
    return fail(ErrorCode::kInvalidInput,
                "{}: tensor \"{}\" begins at byte {} of the data, not at {}, after the one before it", name, entry.name,
                with_commas(entry.offset), with_commas(expected));
  }
  const uint64_t room = file.size() > data_offset ? file.size() - data_offset : 0;
  if (entry.offset > room || *bytes > room - entry.offset) {
    const auto end = checked_add(entry.offset + data_offset, *bytes);
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" ends at byte {}, past the end of the file ({} bytes)",
                name, entry.name, end ? with_commas(*end) : "2^64", with_commas(file.size()));
  }
  return TensorView{.name = std::string(entry.name),
                    .dtype = entry.dtype,
                    .shape = std::move(entry.shape),
                    .data = file.subspan(data_offset + entry.offset, *bytes),
                    .file_offset = data_offset + entry.offset};
}

/// The name of part `index` (from 1) of a split model, from the name of its first; nothing where that has not the form
/// "…-00001-of-00003.gguf".
std::optional<std::string> part_name(const std::string& first, uint64_t index, uint64_t count) {
  const std::string ending = fmt::format("-00001-of-{:05}.gguf", count);
  if (!first.ends_with(ending)) return std::nullopt;
  return fmt::format("{}-{:05}-of-{:05}.gguf", first.substr(0, first.size() - ending.size()), index, count);
}

}  // namespace

Result<GgufContents> parse_gguf(std::span<const std::byte> file, std::string_view name) {
  CRIA_TRY_ASSIGN(GgufHeader header, parse_gguf_header(file, name));
  GgufContents contents;
  contents.version = header.version;
  contents.metadata = std::move(header.metadata);
  const GgufFields fields(contents.metadata, name);
  if (contents.metadata.empty()) return fail(ErrorCode::kInvalidInput, "{}: has no metadata", name);
  if (header.entries.empty() && !fields.contains(kSplitCount)) {
    return fail(ErrorCode::kInvalidInput, "{}: has no tensors", name);
  }
  CRIA_TRY_ASSIGN(contents.alignment, read_alignment(fields));
  const uint64_t data_offset = round_up<uint64_t>(header.size, contents.alignment);
  uint64_t expected = 0;
  contents.tensors.reserve(header.entries.size());
  for (GgufEntry& entry : header.entries) {
    CRIA_TRY_ASSIGN(TensorView tensor, make_view(std::move(entry), file, data_offset, expected, name));
    expected = round_up<uint64_t>(expected + tensor.data.size(), contents.alignment);
    contents.tensors.push_back(std::move(tensor));
  }
  const uint64_t end = contents.tensors.empty() ? header.size : data_offset + expected;
  if (file.size() > end && file.size() - end >= contents.alignment) {
    return fail(ErrorCode::kInvalidInput, "{}: has {} bytes after the last tensor, which ends at byte {}", name,
                with_commas(file.size() - end), with_commas(end));
  }
  return contents;
}

Status Gguf::add_part(const fs::path& path) {
  CRIA_TRY_ASSIGN(MappedFile file, MappedFile::open(path));
  Part part;
  part.file = std::make_unique<MappedFile>(std::move(file));
  CRIA_TRY_ASSIGN(part.contents, parse_gguf(part.file->bytes(), path.filename().string()));
  for (TensorView& tensor : part.contents.tensors) {
    tensor.file = part.file.get();
    tensors_.push_back(std::move(tensor));
  }
  part.contents.tensors.clear();
  parts_.push_back(std::move(part));
  return {};
}

Status Gguf::open_others(uint64_t count) {
  for (uint64_t index = 1; index <= count; ++index) {
    const auto name = part_name(name_, index, count);
    if (!name) {
      return fail(ErrorCode::kInvalidInput,
                  "{}: says that it is the first of {} files, but its name does not end in -00001-of-{:05}.gguf", name_,
                  count, count);
    }
    if (index > 1) CRIA_TRY(add_part(path_.parent_path() / *name));
    const GgufFields fields(parts_.back().contents.metadata, *name);
    CRIA_TRY_ASSIGN(const uint64_t number, fields.required_whole(kSplitNumber, 0, kMaxParts));
    CRIA_TRY_ASSIGN(const uint64_t total, fields.required_whole(kSplitCount, 1, kMaxParts));
    if (number != index - 1 || total != count) {
      return fail(ErrorCode::kInvalidInput, "{}: says that it is file {} of {}, not {} of {}", *name, number + 1, total,
                  index, count);
    }
  }
  CRIA_TRY_ASSIGN(const auto tensors, fields().whole(kSplitTensors, 0, UINT32_MAX));
  if (tensors && *tensors != tensors_.size()) {
    return fail(ErrorCode::kInvalidInput, "{}: says that there are {} tensors in all files, which hold {}", name_,
                with_commas(*tensors), with_commas(tensors_.size()));
  }
  std::set<std::string_view> names;
  for (const TensorView& tensor : tensors_) {
    if (names.insert(tensor.name).second) continue;
    return fail(ErrorCode::kInvalidInput, "{}: two of the files have the tensor \"{}\"", name_, tensor.name);
  }
  return {};
}

Result<Gguf> Gguf::open(const fs::path& path) {
  Gguf result;
  result.path_ = path;
  result.name_ = path.filename().string();
  CRIA_TRY(result.add_part(path));
  CRIA_TRY_ASSIGN(const auto number, result.fields().whole(kSplitNumber, 0, kMaxParts));
  CRIA_TRY_ASSIGN(const auto count, result.fields().whole(kSplitCount, 1, kMaxParts));
  if (number.value_or(0) != 0) {
    return fail(ErrorCode::kInvalidInput, "{}: is file {} of a split model; name the first, which ends in {}",
                result.name_, *number + 1, fmt::format("-00001-of-{:05}.gguf", count.value_or(*number + 1)));
  }
  if (count.value_or(1) > 1) CRIA_TRY(result.open_others(*count));
  if (result.tensors_.empty()) return fail(ErrorCode::kInvalidInput, "{}: has no tensors", result.name_);
  return result;
}

bool is_gguf(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  if (path.extension() == ".gguf") return true;
  std::array<char, 4> magic{};
  std::ifstream(path, std::ios::binary).read(magic.data(), magic.size());
  return magic == kGgufMagic;
}

}  // namespace cria::formats
