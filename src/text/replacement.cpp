#include "text/replacement.h"

#include "base/checked.h"
#include "base/json_fields.h"

namespace cria::text {

Result<Replacement> Replacement::from_json(const Json& json, std::string_view what, std::string_view name) {
  const JsonFields fields(json, name);
  CRIA_TRY_ASSIGN(auto content, fields.string("content"));
  const Json* pattern = fields.find("pattern");
  if (pattern == nullptr || !pattern->is_object() || !content) {
    return fail(ErrorCode::kInvalidInput, "{}: a {} has no \"pattern\" object and \"content\" string", name, what);
  }
  CRIA_TRY_ASSIGN(auto text, JsonFields(*pattern, name).string("String"));
  if (!text || text->empty()) {
    return fail(ErrorCode::kUnsupported, "{}: a {} with the pattern {} is not supported, only a String of some length",
                name, what, shown(*pattern));
  }
  return Replacement{*std::move(text), *std::move(content)};
}

std::string Replacement::apply(std::string_view text) const {
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

Status Growth::add(size_t from, size_t to, std::string_view what, std::string_view name) {
  if (to <= from) return {};
  factor_ *= divide_up(to, from);
  if (factor_ <= kMaxGrowth) return {};
  return fail(ErrorCode::kUnsupported, "{}: the {} could make a text {} times longer, the limit is {}", name, what,
              with_commas(factor_), kMaxGrowth);
}

}  // namespace cria::text
