#include "grammar/json_schema.h"

#include "grammar/json_rules.h"
#include "grammar/schema_writer.h"

namespace cria::grammar {
namespace {

std::unexpected<Error> within(const Error& error, std::string_view name) {
  return std::unexpected(Error(error.code(), fmt::format("{}: {}", name, error.sentence())));
}

}  // namespace

Result<std::string> schema_rules(const OrderedJson& schema, std::string_view name) {
  auto rules = SchemaWriter(schema, "").write("root");
  if (!rules) return within(rules.error(), name);
  return *rules + shared_rules(*rules);
}

Result<std::string> schema_part(const OrderedJson& schema, std::string_view name, const std::string& rule) {
  auto rules = SchemaWriter(schema, rule + "-").write(rule);
  if (!rules) return within(rules.error(), name);
  return rules;
}

Result<Grammar> schema_grammar(const OrderedJson& schema, std::string_view name) {
  CRIA_TRY_ASSIGN(const std::string rules, schema_rules(schema, name));
  static_assert(kSchemaLimits.bytes == 2 * SchemaWriter::kMaxRulesBytes);
  auto grammar = Grammar::parse(rules, name, kSchemaLimits);
  if (!grammar) return std::unexpected(std::move(grammar).error().while_doing("making a grammar of the schema"));
  return grammar;
}

Result<Grammar> object_grammar() { return schema_grammar(OrderedJson{{"type", "object"}}, "json_object"); }

}  // namespace cria::grammar
