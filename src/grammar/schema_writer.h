// Turns a JSON Schema into the rules of a grammar: json_schema.h in the making.
//
// schema_writer.cpp has what holds for all schemas (names of rules, references, parts that hold together, choices),
// schema_scalars.cpp strings and numbers, schema_containers.cpp lists and objects.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/json_fields.h"
#include "grammar/schema_merge.h"

namespace cria::grammar {

/// Text as it stands in a grammar, between quotes.
[[nodiscard]] std::string in_grammar(std::string_view text);
/// A value as JSON, the same way.
[[nodiscard]] std::string literal(const OrderedJson& value);
/// How often something may come, as a repetition.
[[nodiscard]] std::string counts(uint64_t least, std::optional<uint64_t> most);

class SchemaWriter {
 public:
  static constexpr size_t kMaxRulesBytes = size_t{1} << 20U;

  /// What names of rules begin with, so that those of several schemas can stand in one grammar.
  SchemaWriter(const OrderedJson& root, std::string prefix) : root_(root), prefix_(std::move(prefix)) {}

  /// The rules, the first of which accepts the value; without those that schemas share.
  Result<std::string> write(const std::string& first);

 private:
  static constexpr size_t kMaxEnumValues = 5000;  // of a whole schema, as of properties
  static constexpr size_t kMaxProperties = 5000;
  static constexpr uint32_t kMaxDepth = 100;

  template <typename... Args>
  [[nodiscard]] static std::unexpected<Error> wrong(const std::string& path, fmt::format_string<Args...> format,
                                                    Args&&... args) {
    return fail(ErrorCode::kInvalidInput, "{}: {}", shown_path(path), fmt::format(format, std::forward<Args>(args)...));
  }
  [[nodiscard]] static std::unexpected<Error> unsupported(const std::string& path, std::string_view what) {
    return fail(ErrorCode::kUnsupported, "{}: {}", shown_path(path), what);
  }
  [[nodiscard]] static std::string said(const OrderedJson& value) {
    return shown(Json::parse(value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace)));
  }

  /// The name of a rule; equal ones are written once.
  Result<std::string> rule(const std::string& hint, std::string body);
  Status add_rule(const std::string& name, std::string body);
  std::string new_name(const std::string& hint);
  Result<const OrderedJson*> target(const std::string& reference, const std::string& path) const;
  /// The rule for a definition, made when it is first referred to: it may refer to itself.
  Result<std::string> referred(const std::string& reference, const std::string& path);
  /// Bounds the time that a schema takes whose parts refer to each other many times over.
  Status spend(size_t nodes);
  Result<OrderedJson> joined(const OrderedJson& first, const OrderedJson& second, const std::string& path);
  /// Up to draft 7 a list of items was "items", and what comes behind it "additionalItems".
  static OrderedJson in_newer_words(OrderedJson schema);
  /// A schema without $ref and allOf at its top: what they say is joined with the rest.
  Result<OrderedJson> flat(const OrderedJson& schema, const std::string& path, uint32_t depth = 0);
  /// What a schema is written as: the name of a rule, or something as short.
  Result<std::string> value(const OrderedJson& schema, const std::string& path);
  Result<std::string> value_of(const OrderedJson& schema, const std::string& path);
  Result<std::string> one_of(const std::vector<std::string>& alternatives, const std::string& path);
  /// anyOf and oneOf: what stands beside them holds for each alternative. Of oneOf exactly one must fit, so that each
  /// two must be apart.
  Result<std::string> choice(const OrderedJson& whole, const std::string& key, const std::string& path);
  Status check_apart(size_t index, const OrderedJson& alternative, std::vector<std::pair<size_t, OrderedJson>>& others,
                     const std::string& path);
  /// The property by which OpenAPI tells alternatives apart: it must be there.
  static std::optional<std::string> discriminator(const OrderedJson& schema);
  Result<std::vector<std::string>> types_of(const OrderedJson& schema, const std::string& path) const;
  static bool is_of_type(const OrderedJson& value, const std::string& type);
  Result<std::string> enumeration(const OrderedJson& schema, const std::string& path);
  Result<std::string> typed(const std::string& type, const OrderedJson& schema, const std::string& path);

  // Strings and numbers:
  /// A count from 0, where the keyword is there.
  Result<std::optional<uint64_t>> count(const OrderedJson& schema, const std::string& key,
                                        const std::string& path) const;
  Result<std::string> string(const OrderedJson& schema, const std::string& path);
  /// A bound as a whole number: rounded inwards for integers.
  Result<std::optional<int64_t>> bound(const OrderedJson& schema, bool is_least, bool is_integer,
                                       const std::string& path) const;
  Result<std::string> number(const std::string& type, const OrderedJson& schema, const std::string& path);

  // Lists and objects:
  struct Property {
    std::string member;  ///< the rule for key and value
    bool is_required = false;
  };
  Result<std::string> array(const OrderedJson& schema, const std::string& path);
  /// The inside of a list: the first items, and then others, if any.
  static std::string list_of(const std::vector<std::string>& first, const std::string& others, uint64_t least,
                             std::optional<uint64_t> most);
  Result<std::string> object(const OrderedJson& schema, const std::string& path);
  static Status check_property_counts(const OrderedJson& schema, size_t required, size_t properties, bool has_more,
                                      const std::string& path);
  /// Members in their order, those that are not required left out at will, and others behind them. Each suffix of the
  /// list is a rule: once where nothing stands before it, once behind a comma.
  Result<std::string> members_of(const std::vector<Property>& members, const std::string& other);
  /// Keys that are none of these; beside them, without escapes.
  Result<std::string> other_keys(const OrderedJson& properties);
  /// Of names that are alike up to a byte, what may follow there so that it is none of them.
  Result<std::string> keys_but(std::span<const std::string> names, size_t at, uint32_t depth);

  const OrderedJson& root_;
  std::string prefix_;
  std::vector<std::pair<std::string, std::string>> rules_;
  std::map<std::string, std::string> names_;       // of rules, by what they say
  std::map<std::string, std::string> references_;  // rules of definitions
  uint32_t named_ = 0;
  uint32_t depth_ = 0;
  size_t bytes_ = 0;
  size_t work_ = 0;
  size_t enum_values_ = 0;
  size_t property_count_ = 0;
};

}  // namespace cria::grammar
