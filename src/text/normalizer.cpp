#include "text/normalizer.h"

#include "base/json_fields.h"
#include "text/unicode.h"

namespace cria::text {

Result<Normalizer> Normalizer::from_json(const Json& json, std::string_view name) {
  Normalizer normalizer;
  if (!json.is_null()) CRIA_TRY(normalizer.add(json, name, 0));
  return normalizer;
}

Status Normalizer::add(const Json& json, std::string_view name, int depth) {
  constexpr int kMaxDepth = 4;
  constexpr size_t kMaxSteps = 16;
  constexpr size_t kMaxPrefixBytes = 64;
  if (!json.is_object() || depth > kMaxDepth) {
    return fail(ErrorCode::kInvalidInput, "{}: a normalizer is not an object, or nested deeper than {}", name,
                kMaxDepth);
  }
  if (steps_.size() >= kMaxSteps) {
    return fail(ErrorCode::kUnsupported, "{}: the normalizer has more than {} steps", name, kMaxSteps);
  }
  const JsonFields fields(json, name);
  CRIA_TRY_ASSIGN(const auto type, fields.string("type"));
  if (type == "Sequence") {
    const Json* list = fields.find("normalizers");
    if (list == nullptr || !list->is_array()) {
      return fail(ErrorCode::kInvalidInput, "{}: a normalizer sequence has no \"normalizers\" list", name);
    }
    for (const Json& step : *list) CRIA_TRY(add(step, name, depth + 1));
    return {};
  }
  if (type == "NFC") {
    steps_.push_back({.kind = Kind::kNfc, .prefix = "", .replacement = {}});
    return growth_.add(1, 3, "normalizer", name);  // U+FB2C, for one: three times as long (Unicode, annex 15)
  }
  if (type == "Prepend") {
    CRIA_TRY_ASSIGN(const auto prefix, fields.string("prepend"));
    if (!prefix || prefix->size() > kMaxPrefixBytes) {
      return fail(ErrorCode::kInvalidInput, "{}: a Prepend normalizer has no \"prepend\" string of at most {} bytes",
                  name, kMaxPrefixBytes);
    }
    steps_.push_back({.kind = Kind::kPrepend, .prefix = *prefix, .replacement = {}});
    return {};
  }
  if (type == "Replace") {
    CRIA_TRY_ASSIGN(auto replacement, Replacement::from_json(json, "Replace normalizer", name));
    CRIA_TRY(growth_.add(replacement.pattern.size(), replacement.content.size(), "normalizer", name));
    steps_.push_back({.kind = Kind::kReplace, .prefix = "", .replacement = std::move(replacement)});
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
        if (!out.empty()) out.insert(0, step.prefix);
        break;
      case Kind::kReplace: out = step.replacement.apply(out); break;
    }
  }
  return out;
}

}  // namespace cria::text
