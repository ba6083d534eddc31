#include "grammar/schema_writer.h"

#include <algorithm>

#include "grammar/characters.h"

namespace cria::grammar {

Result<std::string> SchemaWriter::array(const OrderedJson& schema, const std::string& path) {
  CRIA_TRY_ASSIGN(const auto least, count(schema, "minItems", path));
  CRIA_TRY_ASSIGN(const auto most, count(schema, "maxItems", path));
  if (schema.contains("uniqueItems") && schema.at("uniqueItems") != false) {
    return unsupported(path, "\"uniqueItems\" is not supported");
  }
  if (most && least.value_or(0) > *most) {
    return wrong(path, "\"minItems\" is {}, above \"maxItems\", which is {}", *least, *most);
  }
  std::vector<std::string> first;
  bool has_others = true;
  if (const auto list = schema.find("prefixItems"); list != schema.end()) {
    if (!list->is_array()) return wrong(path, "\"prefixItems\" is {}: a list of schemas is expected", said(*list));
    for (size_t i = 0; i < list->size() && (!most || i < *most); ++i) {
      has_others = (*list)[i] != false || i < least.value_or(0);
      if (!has_others) break;  // the list ends before that item
      CRIA_TRY_ASSIGN(std::string item, value((*list)[i], fmt::format("{}/prefixItems/{}", path, i)));
      first.push_back(std::move(item));
    }
  }
  std::string others = "value";
  has_others = has_others && (!most || first.size() < *most);
  if (const auto items = schema.find("items"); items != schema.end()) {
    if (items->is_array()) return wrong(path, "\"items\" is {}, a list beside \"prefixItems\"", said(*items));
    if (*items == false) has_others = false;
    if (has_others) {
      CRIA_TRY_ASSIGN(others, value(*items, path + "/items"));
    }
  } else if (!first.empty() && least.value_or(0) <= first.size()) {
    has_others = false;  // what is not spoken of is left out
  }
  if (!has_others && least.value_or(0) > first.size()) {
    return wrong(path, "\"minItems\" is {}, and the list can have at most {}", *least, first.size());
  }
  return rule("array",
              fmt::format("\"[\" ws {} \"]\"", list_of(first, has_others ? others : "", least.value_or(0), most)));
}

std::string SchemaWriter::list_of(const std::vector<std::string>& first, const std::string& others, uint64_t least,
                                  std::optional<uint64_t> most) {
  // From behind: what may follow the first i items, each with the comma before it.
  std::string rest;
  if (!others.empty()) {
    const uint64_t begun = std::max<uint64_t>(first.size(), 1);
    const uint64_t fewest = least > begun ? least - begun : 0;
    const std::optional<uint64_t> more = most ? std::optional(*most > begun ? *most - begun : 0) : std::nullopt;
    rest = fmt::format("(comma {}){}", others, counts(fewest, more));
    if (first.empty()) rest = fmt::format("{} {}", others, rest);
  }
  for (size_t i = first.size(); i-- > 0;) {
    const bool is_needed = i < least || i == 0;
    rest = fmt::format("{}{} {}", i > 0 ? "comma " : "", first[i], rest);
    if (!is_needed) rest = fmt::format("({})?", rest);
  }
  if (rest.empty() || most == 0) return "";
  return least > 0 ? fmt::format("{} ws", rest) : fmt::format("({} ws)?", rest);
}

Result<std::string> SchemaWriter::object(const OrderedJson& schema, const std::string& path) {
  std::set<std::string> required;
  if (const auto list = schema.find("required"); list != schema.end()) {
    if (!list->is_array()) return wrong(path, "\"required\" is {}: a list of names is expected", said(*list));
    for (const OrderedJson& name : *list) {
      if (!name.is_string()) return wrong(path, "\"required\" holds {}: names are expected", said(name));
      required.insert(name.get<std::string>());
    }
    if (required.size() > kMaxProperties) {
      return wrong(path, "\"required\" holds {} names, more than {}", with_commas(required.size()),
                   with_commas(kMaxProperties));
    }
  }
  OrderedJson properties = OrderedJson::object();
  if (const auto found = schema.find("properties"); found != schema.end()) {
    if (!found->is_object()) return wrong(path, "\"properties\" is {}: an object is expected", said(*found));
    properties = *found;
  }
  const auto more = schema.find("additionalProperties");
  const bool has_more = more != schema.end() ? *more != false : properties.empty();
  for (const std::string& name : required) {
    if (properties.contains(name)) continue;
    if (more != schema.end() && *more == false) {
      return wrong(path, "the property \"{}\" is required, and not allowed", name.substr(0, 60));
    }
    properties[name] = more != schema.end() ? *more : OrderedJson(true);
  }
  property_count_ += properties.size();
  if (property_count_ > kMaxProperties) {
    return wrong(path, "the schema has more than {} properties", with_commas(kMaxProperties));
  }
  CRIA_TRY(check_property_counts(schema, required.size(), properties.size(), has_more, path));
  std::vector<Property> members;
  for (const auto& [key, property] : properties.items()) {
    if (property == false && !required.contains(key)) continue;
    CRIA_TRY_ASSIGN(const std::string inside, value(property, fmt::format("{}/properties/{}", path, key)));
    CRIA_TRY_ASSIGN(std::string member, rule(key, fmt::format("{} colon {}", literal(key), inside)));
    members.push_back({.member = std::move(member), .is_required = required.contains(key)});
  }
  std::string other;
  if (has_more) {
    if (properties.empty() && (more == schema.end() || *more == true)) return "object";
    std::string inside = "value";
    if (more != schema.end()) {
      CRIA_TRY_ASSIGN(inside, value(*more, path + "/additionalProperties"));
    }
    CRIA_TRY_ASSIGN(const std::string key, other_keys(properties));
    CRIA_TRY_ASSIGN(other, rule("other", fmt::format("\"\\\"\" {} \"\\\"\" colon {}", key, inside)));
  }
  CRIA_TRY_ASSIGN(const std::string inside, members_of(members, other));
  return rule("object", inside.empty() ? R"("{" ws "}")" : fmt::format(R"("{{" ws {} "}}")", inside));
}

Status SchemaWriter::check_property_counts(const OrderedJson& schema, size_t required, size_t properties, bool has_more,
                                           const std::string& path) {
  const auto least = schema.find("minProperties");
  const auto most = schema.find("maxProperties");
  const auto above = [](const OrderedJson& value, size_t count) {
    return !value.is_number() || value.get<double>() > static_cast<double>(count);
  };
  if (least != schema.end() && above(*least, required)) {
    return unsupported(path, fmt::format("\"minProperties\": {} is not supported beyond the {} that are required",
                                         said(*least), required));
  }
  if (most != schema.end() &&
      (has_more || !most->is_number() || most->get<double>() < static_cast<double>(properties))) {
    return unsupported(path, fmt::format("\"maxProperties\": {} is not supported", said(*most)));
  }
  return {};
}

Result<std::string> SchemaWriter::members_of(const std::vector<Property>& members, const std::string& other) {
  std::string begin;  // what may follow where nothing stands yet
  std::string next;   // … behind a member
  bool may_be_empty = true;
  if (!other.empty()) {
    next = fmt::format("(comma {})*", other);
    begin = fmt::format("{} {}", other, next);
  }
  for (size_t i = members.size(); i-- > 0;) {
    const Property& property = members[i];
    if (i + 1 < members.size() && !next.empty()) {
      CRIA_TRY_ASSIGN(next, rule("next", next));
    }
    std::string with = fmt::format("{} {}", property.member, next);
    if (property.is_required) {
      begin = with;
      next = fmt::format("comma {}", with);
      may_be_empty = false;
    } else {
      if (!begin.empty()) {
        CRIA_TRY_ASSIGN(begin, rule("begin", begin));
      }
      begin = begin.empty() ? with : fmt::format("{} | {}", with, begin);
      next = fmt::format("(comma {})? {}", property.member, next);
    }
  }
  if (begin.empty()) return begin;
  return may_be_empty ? fmt::format("(({}) ws)?", begin) : fmt::format("({}) ws", begin);
}

Result<std::string> SchemaWriter::other_keys(const OrderedJson& properties) {
  if (properties.empty()) return "char*";
  std::vector<std::string> names;
  for (const auto& [key, value] : properties.items()) {
    // A name that is written with escapes is none of those below anyway.
    if (literal(key) == in_grammar("\"" + key + "\"")) names.push_back(key);
  }
  std::ranges::sort(names);
  return keys_but(names, 0, 0);
}

Result<std::string> SchemaWriter::keys_but(std::span<const std::string> names, size_t at, uint32_t depth) {
  constexpr uint32_t kMaxKeyDepth = 500;
  constexpr std::string_view kAny = R"([^"\\\x00-\x1F\x7F])";
  if (names.empty()) return fmt::format("{}*", kAny);
  if (depth > kMaxKeyDepth)
    return fail(ErrorCode::kUnsupported,
                "a property's name is longer than {} characters beside others that are allowed", kMaxKeyDepth);
  std::string excluded = R"("\\\x00-\x1F\x7F)";
  std::vector<std::string> alternatives;
  const bool is_name = names.front().size() == at;
  if (!is_name) alternatives.emplace_back("\"\"");
  for (size_t i = is_name ? 1 : 0; i < names.size();) {
    const auto character = character_at(names[i], at);
    const size_t width = character ? character->bytes : 1;
    size_t end = i;
    while (end < names.size() && names[end].compare(at, width, names[i], at, width) == 0) ++end;
    CRIA_TRY_ASSIGN(const std::string rest, keys_but(names.subspan(i, end - i), at + width, depth + 1));
    alternatives.push_back(fmt::format("{} {}", in_grammar(names[i].substr(at, width)), rest));
    excluded += fmt::format("\\U{:08X}", character ? character->value : 0);
    i = end;
  }
  alternatives.push_back(fmt::format("[^{}] {}*", excluded, kAny));
  return rule("key", fmt::format("{}", fmt::join(alternatives, " | ")));
}

}  // namespace cria::grammar
