#include "formats/safetensors_header.h"

#include <array>
#include <unordered_set>
#include <utility>

#include "base/json.h"

namespace cria::formats {
namespace {

/// Receives the JSON parser's events. Every event returns false to stop, after refuse() set the message.
class HeaderHandler {
 public:
  explicit HeaderHandler(std::string_view name) : name_(name) {}

  bool start_object(std::size_t /*elements*/) {
    switch (place_) {
      case Place::kOutside: place_ = Place::kTop; return true;
      case Place::kTop:
        place_ = key_ == kMetadataKey ? Place::kMetadata : Place::kTensor;
        entry_ = {};
        entry_.name = key_;
        seen_ = {};
        return true;
      default: return wrong_kind("an object");
    }
  }

  bool end_object() {
    if (place_ == Place::kTensor) {
      for (const Field field : {Field::kDType, Field::kShape, Field::kOffsets}) {
        if (!seen_[static_cast<size_t>(field)]) return refuse_tensor("has no \"{}\"", field_name(field));
      }
      header_.entries.push_back(std::move(entry_));
    }
    place_ = place_ == Place::kTop ? Place::kDone : Place::kTop;
    return true;
  }

  bool key(std::string& key) {
    key_ = std::move(key);
    if (place_ == Place::kTop && !names_.insert(key_).second) {
      return refuse("the name \"{}\" appears twice", shown_name(key_));
    }
    if (place_ == Place::kMetadata && !header_.metadata.try_emplace(key_).second) {
      return refuse("the metadata \"{}\" appears twice", shown_name(key_));
    }
    return place_ != Place::kTensor || select_field();
  }

  bool string(std::string& value) {
    if (place_ == Place::kMetadata) {
      header_.metadata[key_] = std::move(value);
      return true;
    }
    if (place_ != Place::kTensor || field_ != Field::kDType)
      return wrong_kind(fmt::format("\"{}\"", shown_name(value)));
    const auto dtype = dtype_of_name(value);
    if (!dtype) return refuse_tensor("has the unknown type \"{}\"", shown_name(value));
    entry_.dtype = *dtype;
    return true;
  }

  bool start_array(std::size_t /*elements*/) {
    if (place_ != Place::kTensor || field_ == Field::kDType) return wrong_kind("a list");
    place_ = field_ == Field::kShape ? Place::kShape : Place::kOffsets;
    offsets_.clear();
    return true;
  }

  bool end_array() {
    if (place_ == Place::kOffsets) {
      if (offsets_.size() != 2) return refuse_tensor("has {} \"data_offsets\", not 2", offsets_.size());
      entry_.begin = offsets_[0];
      entry_.end = offsets_[1];
    }
    place_ = Place::kTensor;
    return true;
  }

  bool number_unsigned(uint64_t value) {
    if (place_ == Place::kShape) {
      if (entry_.shape.size() == kMaxDimensions) return refuse_tensor("has more than {} dimensions", kMaxDimensions);
      entry_.shape.push_back(value);
      return true;
    }
    if (place_ == Place::kOffsets) {
      if (offsets_.size() == 2) return refuse_tensor("has more than 2 \"data_offsets\"");
      offsets_.push_back(value);
      return true;
    }
    return wrong_kind(fmt::format("{}", value));
  }

  bool number_integer(int64_t value) { return wrong_kind(fmt::format("{}", value)); }
  bool number_float(double /*value*/, const std::string& text) { return wrong_kind(shown_name(text)); }
  bool boolean(bool value) { return wrong_kind(value ? "true" : "false"); }
  bool null() { return wrong_kind("null"); }
  bool binary(Json::binary_t& /*value*/) { return wrong_kind("binary data"); }

  bool parse_error(std::size_t position, const std::string& token, const Json::exception& exception) {
    error_ = json_syntax_error(fmt::format("{}: the header", name_), position, token, exception);
    return false;
  }

  [[nodiscard]] const std::string& error() const { return error_; }
  [[nodiscard]] HeaderText take() { return std::move(header_); }

 private:
  enum class Place : uint8_t { kOutside, kTop, kMetadata, kTensor, kShape, kOffsets, kDone };
  enum class Field : uint8_t { kDType, kShape, kOffsets };

  static std::string_view field_name(Field field) {
    return field == Field::kDType ? "dtype" : field == Field::kShape ? "shape" : "data_offsets";
  }

  /// Takes key_ as the name of a tensor's field.
  bool select_field() {
    for (const Field field : {Field::kDType, Field::kShape, Field::kOffsets}) {
      if (key_ != field_name(field)) continue;
      field_ = field;
      bool& seen = seen_[static_cast<size_t>(field)];
      return std::exchange(seen, true) ? refuse_tensor("has \"{}\" twice", key_) : true;
    }
    return refuse_tensor("has the unknown field \"{}\"", shown_name(key_));
  }

  /// Refuses a value that does not belong where it stands.
  bool wrong_kind(std::string_view value) {
    switch (place_) {
      case Place::kMetadata: return refuse("the metadata \"{}\" is {}, not a string", shown_name(key_), value);
      case Place::kTensor:
        return refuse_tensor("has the \"{}\" {}, not {}", field_name(field_), value,
                             field_ == Field::kDType ? "a string" : "a list of whole numbers");
      case Place::kShape: return refuse_tensor("has the dimension {}, not a whole number from 0", value);
      case Place::kOffsets: return refuse_tensor("has the data offset {}, not a whole number from 0", value);
      case Place::kTop: return refuse("\"{}\" is {}, not an object", shown_name(key_), value);
      default: return refuse("the header is {}, not a JSON object", value);
    }
  }

  template <typename... Args>
  bool refuse(fmt::format_string<Args...> format, Args&&... args) {
    error_ = fmt::format("{}: {}", name_, fmt::format(format, std::forward<Args>(args)...));
    return false;
  }
  template <typename... Args>
  bool refuse_tensor(fmt::format_string<Args...> format, Args&&... args) {
    return refuse("tensor \"{}\" {}", shown_name(entry_.name), fmt::format(format, std::forward<Args>(args)...));
  }

  std::string_view name_;
  HeaderText header_;
  std::string error_;
  std::unordered_set<std::string> names_;
  Place place_ = Place::kOutside;
  std::string key_;
  Field field_ = Field::kDType;
  std::array<bool, 3> seen_ = {};
  std::vector<uint64_t> offsets_;
  HeaderEntry entry_;
};

}  // namespace

std::string shown_name(std::string_view name) {
  constexpr size_t kShown = 200;
  if (name.size() <= kShown) return std::string(name);
  size_t end = kShown;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;  // whole characters only
  return std::string(name.substr(0, end)) + "…";
}

Result<HeaderText> parse_header_text(std::string_view text, std::string_view name) {
  if (text.empty() || text.front() != '{') {
    return fail(ErrorCode::kInvalidInput, "{}: the header is not a JSON object: it does not begin with {{", name);
  }
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return fail(ErrorCode::kInvalidInput, "{}: the header is not valid JSON: byte {} is NUL", name, nul + 1);
  }
  HeaderHandler handler(name);
  if (!Json::sax_parse(text.begin(), text.end(), &handler)) {
    return fail(ErrorCode::kInvalidInput, "{}", handler.error());
  }
  return handler.take();
}

}  // namespace cria::formats
