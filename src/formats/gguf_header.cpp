#include "formats/gguf_header.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "formats/little_endian.h"
#include "formats/safetensors_header.h"

namespace cria::formats {
namespace {

constexpr size_t kMaxKeyBytes = 65535;       // the specification's limits
constexpr size_t kMaxTensorNameBytes = 255;  // it says 64
constexpr uint32_t kMaxGgufDimensions = 4;
constexpr uint64_t kSmallestField = 8 + 1 + 4 + 1;          // length of the key, key, type, value
constexpr uint64_t kSmallestEntry = 8 + 1 + 4 + 8 + 4 + 8;  // length of the name, name, dimensions, one, type, offset

struct TensorType {
  uint32_t id;
  std::string_view name;
  std::optional<DType> dtype;  ///< nothing: not supported
};
constexpr TensorType kTensorTypes[] = {
    {0, "F32", DType::kF32},        {1, "F16", DType::kF16},       {2, "Q4_0", DType::kQ4_0},
    {3, "Q4_1", DType::kQ4_1},      {6, "Q5_0", DType::kQ5_0},     {7, "Q5_1", DType::kQ5_1},
    {8, "Q8_0", DType::kQ8_0},      {9, "Q8_1", std::nullopt},     {10, "Q2_K", DType::kQ2_K},
    {11, "Q3_K", DType::kQ3_K},     {12, "Q4_K", DType::kQ4_K},    {13, "Q5_K", DType::kQ5_K},
    {14, "Q6_K", DType::kQ6_K},     {15, "Q8_K", std::nullopt},    {16, "IQ2_XXS", std::nullopt},
    {17, "IQ2_XS", std::nullopt},   {18, "IQ3_XXS", std::nullopt}, {19, "IQ1_S", std::nullopt},
    {20, "IQ4_NL", DType::kIQ4_NL}, {21, "IQ3_S", std::nullopt},   {22, "IQ2_S", std::nullopt},
    {23, "IQ4_XS", DType::kIQ4_XS}, {24, "I8", DType::kI8},        {25, "I16", DType::kI16},
    {26, "I32", DType::kI32},       {27, "I64", DType::kI64},      {28, "F64", DType::kF64},
    {29, "IQ1_M", std::nullopt},    {30, "BF16", DType::kBF16},    {34, "TQ1_0", std::nullopt},
    {35, "TQ2_0", std::nullopt},    {39, "MXFP4", std::nullopt},
};

bool is_plain_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) { return c >= 0x20 && c < 0x7F; });
}

/// Reads numbers and strings one after the other, never past the end.
class Reader {
 public:
  Reader(std::span<const std::byte> file, std::string_view name) : file_(file), name_(name) {}

  Result<GgufHeader> header() {
    GgufHeader header;
    CRIA_TRY_ASSIGN(header.version, read_version());
    CRIA_TRY_ASSIGN(const uint64_t tensors, read_count("tensors", kSmallestEntry));
    CRIA_TRY_ASSIGN(const uint64_t fields, read_count("metadata fields", kSmallestField));
    for (uint64_t i = 0; i < fields; ++i) CRIA_TRY(read_field(header.metadata));
    std::set<std::string_view> names;
    for (uint64_t i = 0; i < tensors; ++i) {
      CRIA_TRY_ASSIGN(GgufEntry entry, read_entry());
      if (!names.insert(entry.name).second) return refuse("two tensors have the name \"{}\"", entry.name);
      header.entries.push_back(std::move(entry));
    }
    header.size = at_;
    return header;
  }

 private:
  template <typename... Args>
  [[nodiscard]] std::unexpected<Error> refuse(fmt::format_string<Args...> format, Args&&... args) const {
    return fail(ErrorCode::kInvalidInput, "{}: {}", name_, fmt::format(format, std::forward<Args>(args)...));
  }

  [[nodiscard]] uint64_t left() const { return file_.size() - at_; }

  /// The next bytes, of what `what` names.
  Result<std::span<const std::byte>> take(uint64_t bytes, std::string_view what) {
    if (bytes > left()) {
      return refuse("{} at byte {} takes {} bytes, but the file has only {} after it", what, with_commas(at_),
                    with_commas(bytes), with_commas(left()));
    }
    const auto taken = file_.subspan(at_, bytes);
    at_ += bytes;
    return taken;
  }

  Result<uint64_t> number(uint32_t bytes, std::string_view what) {
    CRIA_TRY_ASSIGN(const auto taken, take(bytes, what));
    return little_endian(taken);
  }

  Result<std::string_view> string(std::string_view what) {
    CRIA_TRY_ASSIGN(const uint64_t size, number(8, what));
    CRIA_TRY_ASSIGN(const auto taken, take(size, what));
    return std::string_view(reinterpret_cast<const char*>(taken.data()), size);
  }

  Result<uint32_t> read_version() {
    CRIA_TRY_ASSIGN(const auto magic, take(kGgufMagic.size(), "the word GGUF"));
    if (std::memcmp(magic.data(), kGgufMagic.data(), kGgufMagic.size()) != 0) {
      return refuse("does not begin with the word GGUF");
    }
    CRIA_TRY_ASSIGN(const uint64_t version, number(4, "the version"));
    if (version == 2 || version == 3) return static_cast<uint32_t>(version);
    const bool swapped = version != 0 && (version & 0xFFFFFFU) == 0;
    return fail(ErrorCode::kUnsupported, "{}: is of GGUF version {}{}; versions 2 and 3 are supported", name_,
                swapped ? version >> 24 : version, swapped ? ", big-endian" : "");
  }

  Result<uint64_t> read_count(std::string_view what, uint64_t smallest) {
    CRIA_TRY_ASSIGN(const uint64_t count, number(8, "the header"));
    if (count <= left() / smallest) return count;
    return refuse("claims {} {}, but the file has only {} bytes after its header", with_commas(count), what,
                  with_commas(left()));
  }

  Result<GgufType> read_type(std::string_view key) {
    CRIA_TRY_ASSIGN(const uint64_t type, number(4, "the type of a value"));
    if (type <= static_cast<uint64_t>(GgufType::kF64)) return static_cast<GgufType>(type);
    return refuse("\"{}\" has values of the unknown type {}", key, type);
  }

  Status read_field(GgufMetadata& metadata) {
    CRIA_TRY_ASSIGN(const std::string_view key, string("a key"));
    if (key.size() > kMaxKeyBytes || !is_plain_name(key)) {
      return refuse("the key that ends at byte {} is not of 1 to {} printable ASCII characters", with_commas(at_),
                    with_commas(kMaxKeyBytes));
    }
    const std::string shown = shown_name(key);
    GgufValue value;
    CRIA_TRY_ASSIGN(value.type, read_type(shown));
    if (value.type == GgufType::kArray) {
      value.is_array = true;
      CRIA_TRY_ASSIGN(value.type, read_type(shown));
      CRIA_TRY_ASSIGN(value.count, number(8, "the length of an array"));
      if (value.type == GgufType::kArray) return refuse("\"{}\" is an array of arrays", shown);
    }
    CRIA_TRY_ASSIGN(value.data, read_values(value, shown));
    if (!metadata.emplace(key, value).second) return refuse("the key \"{}\" appears twice", shown);
    return {};
  }

  /// The bytes of all elements of a value whose type and count are known.
  Result<std::span<const std::byte>> read_values(const GgufValue& value, std::string_view key) {
    const uint32_t bytes = gguf_type_bytes(value.type);
    const uint64_t smallest = bytes == 0 ? 8 : bytes;
    if (value.count > left() / smallest) {
      return refuse("\"{}\" claims {} values of type {}, but the file has only {} bytes after it", key,
                    with_commas(value.count), gguf_type_name(value.type), with_commas(left()));
    }
    if (bytes != 0) return take(value.count * bytes, "a value");
    const uint64_t begin = at_;
    for (uint64_t i = 0; i < value.count; ++i) CRIA_TRY(string("a string"));
    return file_.subspan(begin, at_ - begin);
  }

  Result<GgufEntry> read_entry() {
    GgufEntry entry;
    CRIA_TRY_ASSIGN(entry.name, string("the name of a tensor"));
    if (entry.name.size() > kMaxTensorNameBytes || !is_plain_name(entry.name)) {
      return refuse("the tensor's name that ends at byte {} is not of 1 to {} printable ASCII characters",
                    with_commas(at_), kMaxTensorNameBytes);
    }
    CRIA_TRY_ASSIGN(const uint64_t dimensions, number(4, "the dimensions of a tensor"));
    if (dimensions == 0 || dimensions > kMaxGgufDimensions) {
      return refuse("tensor \"{}\" has {} dimensions, not 1 to {}", entry.name, dimensions, kMaxGgufDimensions);
    }
    for (uint64_t i = 0; i < dimensions; ++i) {
      CRIA_TRY_ASSIGN(const uint64_t dimension, number(8, "a dimension of a tensor"));
      if (dimension == 0) return refuse("tensor \"{}\" has a dimension of 0", entry.name);
      entry.shape.push_back(dimension);
    }
    std::ranges::reverse(entry.shape);
    CRIA_TRY_ASSIGN(const uint64_t type, number(4, "the type of a tensor"));
    const auto* known = std::ranges::find(kTensorTypes, type, &TensorType::id);
    if (known == std::end(kTensorTypes)) return refuse("tensor \"{}\" has the unknown type {}", entry.name, type);
    if (!known->dtype) {
      return fail(ErrorCode::kUnsupported, "{}: tensor \"{}\" is of the type {}, which is not supported", name_,
                  entry.name, known->name);
    }
    entry.dtype = *known->dtype;
    CRIA_TRY_ASSIGN(entry.offset, number(8, "the offset of a tensor"));
    return entry;
  }

  std::span<const std::byte> file_;
  std::string_view name_;
  uint64_t at_ = 0;
};

}  // namespace

Result<GgufHeader> parse_gguf_header(std::span<const std::byte> file, std::string_view name) {
  return Reader(file, name).header();
}

std::optional<uint32_t> gguf_tensor_type(DType dtype) {
  const auto* known = std::ranges::find(kTensorTypes, std::optional(dtype), &TensorType::dtype);
  if (known == std::end(kTensorTypes)) return std::nullopt;
  return known->id;
}

}  // namespace cria::formats
