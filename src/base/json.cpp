#include "base/json.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <vector>

namespace cria {
namespace {

/// A SAX handler in front of the DOM builder: it refuses what the builder would quietly accept.
template <typename AnyJson>
class StrictHandler : public nlohmann::detail::json_sax_dom_parser<AnyJson> {
  using Base = nlohmann::detail::json_sax_dom_parser<AnyJson>;

 public:
  StrictHandler(AnyJson& root, std::string_view name, JsonLimits limits)
      : Base(root, /*allow_exceptions=*/false), name_(name), limits_(limits) {}

  bool start_object(std::size_t elements) {
    if (!enter()) return false;
    keys_.emplace_back();
    return Base::start_object(elements);
  }
  bool end_object() {
    keys_.pop_back();
    --depth_;
    return Base::end_object();
  }
  bool start_array(std::size_t elements) { return enter() && Base::start_array(elements); }
  bool end_array() {
    --depth_;
    return Base::end_array();
  }
  bool key(std::string& name) {
    if (!limits_.allow_duplicate_keys && !keys_.back().insert(name).second) {
      return refuse(fmt::format("{}: the key \"{}\" appears twice in one object", name_, name.substr(0, 100)));
    }
    if (keys_.back().size() > limits_.max_keys) {
      return refuse(fmt::format("{}: an object has more than {} keys", name_, with_commas(limits_.max_keys)));
    }
    return Base::key(name);
  }
  bool parse_error(std::size_t position, const std::string& token, const Json::exception& exception) {
    if (error_.empty()) error_ = json_syntax_error(name_, position, token, exception);
    return false;
  }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  bool enter() {
    if (++depth_ > limits_.max_depth) {
      return refuse(fmt::format("{}: JSON is nested deeper than {} levels", name_, limits_.max_depth));
    }
    if (++containers_ > limits_.max_containers) {
      return refuse(
          fmt::format("{}: JSON holds more than {} objects and arrays", name_, with_commas(limits_.max_containers)));
    }
    return true;
  }
  bool refuse(std::string message) {
    error_ = std::move(message);
    return false;
  }

  std::string_view name_;
  JsonLimits limits_;
  int depth_ = 0;
  size_t containers_ = 0;
  std::vector<std::unordered_set<std::string>> keys_;
  std::string error_;
};

std::string printable(std::string_view token) {
  std::string text;
  for (const char c : token.substr(0, 40)) text += (c >= 0x20 && c < 0x7f) ? c : '?';
  return text;
}

}  // namespace

std::string json_syntax_error(std::string_view name, size_t position, std::string_view token,
                              const Json::exception& exception) {
  constexpr int kOutOfRange = 406;  // the library's number for it
  const std::string_view detail = exception.what();
  const char* kind = detail.find("ill-formed UTF-8") != std::string_view::npos ? "is not valid UTF-8"
                     : exception.id == kOutOfRange ? "holds a number outside the range of a double"
                                                   : "is not valid JSON";
  return fmt::format("{}: {} at byte {} (near \"{}\")", name, kind, with_commas(position), printable(token));
}

namespace {

template <typename AnyJson>
Result<AnyJson> parse(std::string_view text, std::string_view name, JsonLimits limits) {
  // The parser would take a NUL for the end of the text and not look at what follows.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return fail(ErrorCode::kInvalidInput, "{}: is not valid JSON: byte {} is NUL", name, with_commas(nul + 1));
  }
  AnyJson root;
  StrictHandler<AnyJson> handler(root, name, limits);
  const bool complete = AnyJson::sax_parse(text.begin(), text.end(), &handler);
  if (!complete) {
    return fail(ErrorCode::kInvalidInput, "{}",
                handler.error().empty() ? fmt::format("{}: is not valid JSON", name) : handler.error());
  }
  return root;
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view name, JsonLimits limits) {
  return parse<Json>(text, name, limits);
}

Result<OrderedJson> parse_ordered_json(std::string_view text, std::string_view name, JsonLimits limits) {
  limits.max_keys = std::min(limits.max_keys, kMaxOrderedKeys);
  limits.allow_duplicate_keys = false;
  return parse<OrderedJson>(text, name, limits);
}

}  // namespace cria
