#include "text/normalizer.h"

#include "base/json_fields.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, done)) {
    out += text.substr(done, at - done);
    out += content;
    done = at + pattern.size();
  }
  out += text.substr(done);
  return out;
}

}  // namespace

Result<Normalizer> Normalizer::from_json(const Json& json, std::string_view name) {
  Normalizer normalizer;
  if (!json.is_null()) CRIA_TRY(normalizer.add(json, name, 0));
  return normalizer;
}

Status Normalizer::add(const Json& json, std::string_view name, int depth) {
  constexpr int kMaxDepth = 4;
  if (!json.is_object() || depth > kMaxDepth) {
    return fail(ErrorCode::kInvalidInput, "{}: a normalizer is not an object, or nested deeper than {}", name,
                kMaxDepth);
  }
  const JsonFields fields(json, name);
  CRIA_TRY_ASSIGN(const auto type, fields.string("type"));
  if (type == "Sequence") {
    const Json* list = fields.find("normalizers");
    if (list == nullptr || !list->is_array()) {
      return fail(ErrorCode::kInvalidInput, "{}: a normalizer sequence has no \"normalizers\"", name);
    }
    for (const Json& step : *list) CRIA_TRY(add(step, name, depth + 1));
    return {};
  }
  if (type == "NFC") {
    steps_.push_back({Kind::kNfc, "", ""});
    return {};
  }
  if (type == "Prepend") {
    CRIA_TRY_ASSIGN(const auto prefix, fields.string("prepend"));
    if (!prefix) return fail(ErrorCode::kInvalidInput, "{}: a Prepend normalizer has no \"prepend\"", name);
    steps_.push_back({Kind::kPrepend, "", *prefix});
    return {};
  }
  if (type == "Replace") {
    CRIA_TRY_ASSIGN(const auto content, fields.string("content"));
    const Json* pattern = fields.find("pattern");
    if (pattern == nullptr || !pattern->is_object() || !content) {
      return fail(ErrorCode::kInvalidInput, "{}: a Replace normalizer has no \"pattern\" and \"content\"", name);
    }
    CRIA_TRY_ASSIGN(const auto text, JsonFields(*pattern, name).string("String"));
    if (!text || text->empty()) {
      return fail(ErrorCode::kUnsupported,
                  "{}: a Replace normalizer with a pattern other than a String is not supported", name);
    }
    steps_.push_back({Kind::kReplace, *text, *content});
    return {};
  }
  return fail(ErrorCode::kUnsupported, "{}: the normalizer \"{}\" is not supported", name, type.value_or("(none)"));
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kNfc: out = to_nfc(out); break;
      case Kind::kPrepend:
        if (!out.empty()) out.insert(0, step.content);
        break;
      case Kind::kReplace: out = replace_all(out, step.pattern, step.content); break;
    }
  }
  return out;
}

}  // namespace cria::text
