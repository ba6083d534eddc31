#include "text/template.h"

#include "base/json_fields.h"

namespace cria::text {
namespace {

/// A part of the file, or nullptr where `object` is no object or does not have it.
const Json* part(const Json* object, const char* key) {
  if (object == nullptr || !object->is_object()) return nullptr;
  const auto found = object->find(key);
  return found == object->end() ? nullptr : &*found;
}

/// The ids that "special_tokens" gives for a special token of the template.
Status append_ids(const Json& special, const Json* definitions, const std::function<bool(TokenId)>& is_known,
                  std::string_view name, std::vector<TokenId>& out) {
  const Json* id = part(&special, "id");
  if (id == nullptr || !id->is_string()) {
    return fail(ErrorCode::kInvalidInput, "{}: the template holds {}, a special token without an \"id\" string", name,
                shown(special));
  }
  const auto& token = id->get_ref<const std::string&>();
  const Json* ids = part(part(definitions, token.c_str()), "ids");
  if (ids == nullptr || !ids->is_array()) {
    return fail(ErrorCode::kInvalidInput, "{}: the template's token {} has no list of ids in \"special_tokens\"", name,
                shown(*id));
  }
  for (const Json& value : *ids) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > UINT32_MAX || !is_known(value.get<TokenId>())) {
      return fail(ErrorCode::kInvalidInput, "{}: the template's token {} has the id {}, which is not in the vocabulary",
                  name, shown(*id), shown(value));
    }
    out.push_back(value.get<TokenId>());
  }
  return {};
}

}  // namespace

Result<Template> Template::from_json(const Json& processor, const IsKnown& is_known, std::string_view name) {
  Template result;
  if (!processor.is_null()) CRIA_TRY(result.add(processor, is_known, name, 0));
  return result;
}

Status Template::add(const Json& processor, const IsKnown& is_known, std::string_view name, int depth) {
  constexpr int kMaxDepth = 4;
  if (!processor.is_object() || depth > kMaxDepth) {
    return fail(ErrorCode::kInvalidInput, "{}: a post-processor is not an object, or nested deeper than {}", name,
                kMaxDepth);
  }
  CRIA_TRY_ASSIGN(const auto type, JsonFields(processor, name).string("type"));
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return add_template(processor, is_known, name);
  if (type != "Sequence") {
    return fail(ErrorCode::kUnsupported, "{}: the post-processor \"{}\" is not supported", name,
                type.value_or("(none)"));
  }
  const Json* list = part(&processor, "processors");
  if (list == nullptr || !list->is_array()) {
    return fail(ErrorCode::kInvalidInput, "{}: a post-processor sequence has no \"processors\" list", name);
  }
  for (const Json& step : *list) CRIA_TRY(add(step, is_known, name, depth + 1));
  return {};
}

Status Template::add_template(const Json& processor, const IsKnown& is_known, std::string_view name) {
  if (has_template_) {
    return fail(ErrorCode::kUnsupported, "{}: more than one TemplateProcessing is not supported", name);
  }
  has_template_ = true;
  const Json* single = part(&processor, "single");
  if (single == nullptr || !single->is_array()) {
    return fail(ErrorCode::kInvalidInput, "{}: the template has no \"single\" list", name);
  }
  bool after_text = false;
  for (const Json& item : *single) {
    if (const Json* special = part(&item, "SpecialToken")) {
      CRIA_TRY(
          append_ids(*special, part(&processor, "special_tokens"), is_known, name, after_text ? suffix_ : prefix_));
      continue;
    }
    const Json* sequence = part(part(&item, "Sequence"), "id");
    if (sequence == nullptr || *sequence != "A" || after_text) {
      return fail(ErrorCode::kInvalidInput, "{}: the template holds {}, neither a special token nor its one text A",
                  name, shown(item));
    }
    after_text = true;
  }
  if (!after_text) return fail(ErrorCode::kInvalidInput, "{}: the template has no place for the text A", name);
  return {};
}

}  // namespace cria::text
