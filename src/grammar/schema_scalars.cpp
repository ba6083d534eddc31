#include "grammar/schema_writer.h"

#include <algorithm>
#include <cmath>

#include "grammar/json_numbers.h"
#include "grammar/json_pattern.h"
#include "grammar/json_rules.h"

namespace cria::grammar {

Result<std::optional<uint64_t>> SchemaWriter::count(const OrderedJson& schema, const std::string& key,
                                                    const std::string& path) const {
  constexpr uint64_t kMost = 10'000;
  const auto found = schema.find(key);
  if (found == schema.end()) return std::nullopt;
  const bool is_count = found->is_number() && found->get<double>() >= 0 && found->get<double>() <= double{kMost} &&
                        found->get<double>() == std::floor(found->get<double>());
  if (is_count) return static_cast<uint64_t>(found->get<double>());
  // More than that is never written.
  if (found->is_number() && found->get<double>() > double{kMost} && key.starts_with("max")) return kMost;
  return wrong(path, "\"{}\" is {}: a whole number from 0 to {} is expected", key, said(*found), kMost);
}

Result<std::string> SchemaWriter::string(const OrderedJson& schema, const std::string& path) {
  CRIA_TRY_ASSIGN(const auto least, count(schema, "minLength", path));
  CRIA_TRY_ASSIGN(const auto most, count(schema, "maxLength", path));
  const bool has_length = least.value_or(0) > 0 || schema.contains("maxLength");
  const bool has_pattern = schema.contains("pattern");
  const bool is_formatted = schema.contains("format");
  if (has_length + has_pattern + is_formatted > 1) {
    return unsupported(path, "only one of \"pattern\", \"format\" and a length is supported for a string");
  }
  if (has_pattern) {
    const OrderedJson& pattern = schema.at("pattern");
    if (!pattern.is_string()) return wrong(path, "\"pattern\" is {}: a string is expected", said(pattern));
    auto written = pattern_rules(pattern.get<std::string>());
    if (!written) {
      return std::unexpected(
          Error(written.error().code(), fmt::format("{}: {}", shown_path(path), written.error().sentence())));
    }
    return rule("pattern", fmt::format("\"\\\"\" {} \"\\\"\"", *written));
  }
  if (is_formatted) {
    const OrderedJson& format = schema.at("format");
    if (format.is_string() && has_format(format.get<std::string>())) {
      return rule("string", fmt::format("\"\\\"\" format-{} \"\\\"\"", format.get<std::string>()));
    }
    return unsupported(path, fmt::format("\"format\" is {}, which is not supported", said(format)));
  }
  if (!has_length) return "string";
  if (most && least.value_or(0) > *most) {
    return wrong(path, "\"minLength\" is {}, above \"maxLength\", which is {}", *least, *most);
  }
  return rule("string", fmt::format("\"\\\"\" char{} \"\\\"\"", counts(least.value_or(0), most)));
}

Result<std::optional<int64_t>> SchemaWriter::bound(const OrderedJson& schema, bool is_least, bool is_integer,
                                                   const std::string& path) const {
  std::optional<int64_t> result;
  for (const bool is_exclusive : {false, true}) {
    const std::string key =
        is_least ? (is_exclusive ? "exclusiveMinimum" : "minimum") : (is_exclusive ? "exclusiveMaximum" : "maximum");
    const auto found = schema.find(key);
    if (found == schema.end()) continue;
    if (!found->is_number()) return wrong(path, "\"{}\" is {}: a number is expected", key, said(*found));
    const auto value = found->get<double>();
    const bool is_whole = value == std::floor(value);
    if (!is_integer && (is_exclusive || !is_whole)) {
      return unsupported(path, fmt::format("\"{}\": {} is not supported for numbers: only \"minimum\" and \"maximum\" "
                                           "that are whole are",
                                           key, said(*found)));
    }
    constexpr double kFurthest = 9e15;
    if (std::abs(value) > kFurthest) {
      const bool is_outside = is_least ? value > 0 : value < 0;
      if (!is_outside) {  // further out than numbers are written, but for those with exponents
        constexpr auto kBound = static_cast<int64_t>(kFurthest);
        const int64_t bound = is_least ? -kBound : kBound;
        result = !result ? bound : is_least ? std::max(*result, bound) : std::min(*result, bound);
        continue;
      }
      return unsupported(path, fmt::format("\"{}\": {} is further from 0 than {}", key, said(*found), kFurthest));
    }
    auto whole = static_cast<int64_t>(is_least ? std::ceil(value) : std::floor(value));
    if (is_exclusive && is_whole) whole += is_least ? 1 : -1;
    result = !result ? whole : is_least ? std::max(*result, whole) : std::min(*result, whole);
  }
  return result;
}

Result<std::string> SchemaWriter::number(const std::string& type, const OrderedJson& schema, const std::string& path) {
  const bool is_integer = type == "integer";
  if (const auto step = schema.find("multipleOf"); step != schema.end() && !(is_integer && *step == 1)) {
    return unsupported(path, fmt::format("\"multipleOf\": {} is not supported", said(*step)));
  }
  CRIA_TRY_ASSIGN(const auto least, bound(schema, true, is_integer, path));
  CRIA_TRY_ASSIGN(const auto most, bound(schema, false, is_integer, path));
  if (!least && !most) return type;
  const int64_t low = least.value_or(-kMostWritten);
  const int64_t high = most.value_or(kMostWritten);
  if (low > high) return wrong(path, "no number is at least {} and at most {}", low, high);
  return rule(type, is_integer ? integers_between(low, high) : numbers_between(low, high));
}

}  // namespace cria::grammar
