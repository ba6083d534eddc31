#include "server/structure.h"

#include <algorithm>
#include <deque>
#include <mutex>

#include "base/json_fields.h"
#include "grammar/json_schema.h"

namespace cria::server {
namespace {

using SharedGrammar = std::shared_ptr<const grammar::Grammar>;

/// The grammars that were asked for last, by what they were made of.
class KnownGrammars {
 public:
  Checked<SharedGrammar> get(const std::string& parameter, const std::string& source,
                             const std::function<Result<grammar::Grammar>()>& make) {
    if (auto known = find(source)) return known;
    auto made = make();
    if (!made) return refuse(parameter, made.error().message());
    auto grammar = std::make_shared<const grammar::Grammar>(*std::move(made));
    const std::scoped_lock lock(mutex_);
    entries_.push_front({source, grammar});
    if (entries_.size() > kMost) entries_.pop_back();
    return grammar;
  }

 private:
  static constexpr size_t kMost = 16;
  struct Entry {
    std::string source;
    SharedGrammar grammar;
  };

  SharedGrammar find(const std::string& source) {
    const std::scoped_lock lock(mutex_);
    const auto known = std::ranges::find(entries_, source, &Entry::source);
    if (known == entries_.end()) return nullptr;
    std::rotate(entries_.begin(), known, known + 1);
    return entries_.front().grammar;
  }

  std::mutex mutex_;
  std::deque<Entry> entries_;  // the latest first
};

}  // namespace

Checked<SharedGrammar> known_grammar(const std::string& parameter, const std::string& source,
                                     const std::function<Result<grammar::Grammar>()>& make) {
  static KnownGrammars known;
  return known.get(parameter, source, make);
}

namespace {

/// {"type": "json_schema", "json_schema": {"name": …, "schema": {…}, "strict": …, "description": …}}
Checked<SharedGrammar> read_schema(const std::string& body, const Json& format) {
  const auto outer = format.find("json_schema");
  if (outer == format.end() || !outer->is_object() || !outer->contains("schema") || format.size() != 2) {
    return refuse("response_format",
                  "\"response_format\" must be {\"type\": \"json_schema\", \"json_schema\": {\"name\": …, \"schema\": "
                  "…}}");
  }
  for (const auto& [key, value] : outer->items()) {
    const bool is_text = key == "name" || key == "description";
    const bool fits =
        key == "schema" || value.is_null() || (is_text && value.is_string()) || (key == "strict" && value.is_boolean());
    if (!fits) {
      return refuse(
          "response_format",
          fmt::format("\"response_format\" has \"{}\": {}: \"name\", \"description\", \"strict\" and \"schema\" are "
                      "known",
                      key.substr(0, 60), shown(value)));
    }
  }
  const auto ordered = parse_ordered_json(body, "the schema of \"response_format\"");
  if (!ordered) return refuse("response_format", ordered.error().message());
  const OrderedJson& schema = ordered->at("response_format").at("json_schema").at("schema");
  return known_grammar("response_format", "schema " + schema.dump(),
                       [&] { return grammar::schema_grammar(schema, "the schema of \"response_format\""); });
}

}  // namespace

Checked<SharedGrammar> read_structure(const std::string& body, const Json* format,
                                      const std::optional<std::string>& grammar) {
  SharedGrammar structure;
  if (format != nullptr) {
    const auto type = format->is_object() ? format->find("type") : format->end();
    if (type == format->end() || !type->is_string()) {
      return refuse("response_format",
                    fmt::format("\"response_format\" is {}: it must be an object with a \"type\"", shown(*format)));
    }
    if (*type == "json_schema") {
      CRIA_TRY_ASSIGN(structure, read_schema(body, *format));
    } else if (*type == "json_object" && format->size() == 1) {
      CRIA_TRY_ASSIGN(structure, known_grammar("response_format", "object", grammar::object_grammar));
    } else if (*type != "text" || format->size() != 1) {
      return refuse("response_format", fmt::format("\"response_format\" is {}: \"text\", \"json_object\" and "
                                                   "\"json_schema\" are supported",
                                                   shown(*format)));
    }
  }
  if (!grammar) return structure;
  if (structure) return refuse("grammar", "\"grammar\" and \"response_format\" were both given");
  return known_grammar("grammar", "grammar " + *grammar,
                       [&] { return grammar::Grammar::parse(*grammar, "the grammar"); });
}

}  // namespace cria::server
