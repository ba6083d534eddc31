#include "formats/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/checked.h"
#include "formats/safetensors_header.h"

namespace cria::formats {
namespace {

/// Compares what the header says of a tensor with the file's size and makes the view.
/// `data` is what follows the header, at `data_offset` of the file.
Result<TensorView> make_view(HeaderEntry&& entry, std::span<const std::byte> data, uint64_t data_offset,
                             std::string_view name) {
  if (entry.end < entry.begin) {
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" ends at byte {} of the data, before its begin at {}", name,
                shown_name(entry.name), with_commas(entry.end), with_commas(entry.begin));
  }
  if (entry.end > data.size()) {
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" ends at byte {}, past the end of the file ({} bytes)",
                name, shown_name(entry.name), with_commas(checked_add(entry.end, data_offset).value_or(entry.end)),
                with_commas(data.size() + data_offset));
  }
  const auto bytes = tensor_bytes(entry.shape, entry.dtype);
  if (!bytes) {
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" has the shape [{}], whose size overflows 64 bits", name,
                shown_name(entry.name), fmt::join(entry.shape, ", "));
  }
  if (*bytes != entry.end - entry.begin) {
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" takes {} bytes, but its shape [{}] of {} makes {}", name,
                shown_name(entry.name), with_commas(entry.end - entry.begin), fmt::join(entry.shape, ", "),
                dtype_name(entry.dtype), with_commas(*bytes));
  }
  return TensorView{.name = std::move(entry.name),
                    .dtype = entry.dtype,
                    .shape = std::move(entry.shape),
                    .data = data.subspan(entry.begin, *bytes),
                    .file_offset = data_offset + entry.begin};
}

/// Tensors, sorted by place, must cover the data from its first byte to its last.
Status check_cover(const std::vector<TensorView>& tensors, uint64_t data_offset, uint64_t file_bytes,
                   std::string_view name) {
  uint64_t expected = data_offset;
  for (const TensorView& tensor : tensors) {
    if (tensor.file_offset < expected) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" begins at byte {}, inside the one before it (up to {})",
                  name, shown_name(tensor.name), with_commas(tensor.file_offset), with_commas(expected));
    }
    if (tensor.file_offset > expected) {
      return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" begins at byte {}, after a hole of {} bytes", name,
                  shown_name(tensor.name), with_commas(tensor.file_offset), with_commas(tensor.file_offset - expected));
    }
    expected += tensor.data.size();
  }
  if (expected == file_bytes) return {};
  return fail(ErrorCode::kInvalidInput, "{}: the last tensor ends at byte {}, but the file has {} bytes after it", name,
              with_commas(expected), with_commas(file_bytes - expected));
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors(std::span<const std::byte> file, std::string_view name) {
  constexpr uint64_t kLengthBytes = 8;
  if (file.size() < kLengthBytes) {
    return fail(ErrorCode::kInvalidInput, "{}: is {} bytes long, too short for a safetensors header", name,
                file.size());
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
  CRIA_TRY_ASSIGN(HeaderText described, parse_header_text(text, name));

  const uint64_t data_offset = kLengthBytes + header_bytes;
  SafetensorsHeader header;
  header.metadata = std::move(described.metadata);
  header.tensors.reserve(described.entries.size());
  for (HeaderEntry& entry : described.entries) {
    CRIA_TRY_ASSIGN(TensorView tensor, make_view(std::move(entry), file.subspan(data_offset), data_offset, name));
    header.tensors.push_back(std::move(tensor));
  }
  std::ranges::sort(header.tensors, [](const TensorView& a, const TensorView& b) {
    return std::tuple(a.file_offset, a.data.size(), std::string_view(a.name)) <
           std::tuple(b.file_offset, b.data.size(), std::string_view(b.name));
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
