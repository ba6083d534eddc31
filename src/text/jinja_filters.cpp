// Filters: value | name(arguments).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace cria::text::jinja {
namespace {

/// What a filter is called with.
struct Call {
  Interpreter& in;
  const std::string& name;
  const Value& value;
  const Arguments& arguments;

  [[nodiscard]] Budget& budget() const { return in.budget(); }
  [[nodiscard]] const Value* argument(size_t position, std::string_view key) const {
    return arguments.find(position, key);
  }
  [[nodiscard]] bool flag(size_t position, std::string_view key, bool otherwise = false) const {
    const Value* value = argument(position, key);
    return value == nullptr ? otherwise : value->truth();
  }
  Result<int64_t> integer(size_t position, std::string_view key, int64_t otherwise) const {
    const Value* given = argument(position, key);
    if (given == nullptr || given->is_none()) return otherwise;
    if (const auto number = given->as_integer()) return *number;
    return fail(ErrorCode::kInvalidInput, "the filter \"{}\" needs a whole number, not a value of kind {}", name,
                given->kind());
  }
  Result<std::string> string(size_t position, std::string_view key, std::string_view otherwise) const {
    const Value* given = argument(position, key);
    if (given == nullptr) return std::string(otherwise);
    return to_text(budget(), *given);
  }
  Result<std::string> text() const { return to_text(budget(), value); }
  Result<std::vector<Value>> items() const { return items_of(budget(), value); }
};

using Filter = Result<Value> (*)(const Call&);

/// value.a.b for "a.b", value[0] for 0.
Result<Value> dotted(const Call& call, Value value, const Value& path) {
  CRIA_TRY_ASSIGN(const std::string text, to_text(call.budget(), path));
  for (const std::string& part : split(text, ".", -1)) {
    int64_t index = 0;
    const auto read = std::from_chars(part.data(), part.data() + part.size(), index);
    const Sequence* list = value.as_list();
    if (list != nullptr && read.ec == std::errc() && read.ptr == part.data() + part.size()) {
      const bool inside = index >= 0 && index < std::ssize(list->items);
      value = inside ? list->items[static_cast<size_t>(index)] : Value::undefined("a list is too short");
    } else {
      CRIA_TRY_ASSIGN(value, call.in.attribute(value, part));
    }
  }
  return value;
}

Result<Value> text_of(Result<std::string> text) {
  if (!text) return std::unexpected(std::move(text).error());
  return Value::string(*std::move(text));
}

template <Case wanted>
Result<Value> change_case(const Call& call) {
  CRIA_TRY_ASSIGN(const std::string text, call.text());
  return Value::string(with_case(text, wanted));
}

Result<Value> trim(const Call& call) {
  CRIA_TRY_ASSIGN(const std::string text, call.text());
  CRIA_TRY_ASSIGN(const std::string characters, call.string(0, "chars", ""));
  return Value::string(std::string(strip(text, characters, Side::kBoth)));
}

Result<Value> tojson(const Call& call) {
  CRIA_TRY_ASSIGN(const int64_t indent, call.integer(0, "indent", -1));
  if (indent > 64) return fail(ErrorCode::kInvalidInput, "the chat template indents JSON by more than 64 blanks");
  return text_of(
      to_json(call.budget(), call.value, static_cast<int>(std::max<int64_t>(indent, -1)), call.flag(4, "sort_keys")));
}

Result<Value> default_value(const Call& call) {
  const bool missing = call.value.is_undefined() || (call.flag(1, "boolean") && !call.value.truth());
  if (!missing) return call.value;
  const Value* otherwise = call.argument(0, "default_value");
  return otherwise == nullptr ? Value::string("") : *otherwise;
}

Result<Value> length(const Call& call) {
  CRIA_TRY_ASSIGN(const int64_t count, length_of(call.budget(), call.value));
  return Value::integer(count);
}

Result<Value> items(const Call& call) {
  std::vector<Value> pairs;
  if (call.value.is_undefined()) return Value::list(std::move(pairs));
  const Entries* dict = call.value.as_dict();
  if (dict == nullptr) {
    return fail(ErrorCode::kInvalidInput, "the filter \"items\" needs a dictionary, not a value of kind {}",
                call.value.kind());
  }
  CRIA_TRY(call.budget().spend_bytes(dict->size() * 4 * sizeof(Value)));
  for (const auto& [key, value] : *dict) pairs.push_back(Value::list({key, value}, true));
  return Value::list(std::move(pairs));
}

Result<Value> list(const Call& call) {
  CRIA_TRY_ASSIGN(std::vector<Value> items, call.items());
  return Value::list(std::move(items));
}

Result<Value> end_item(const Call& call) {
  CRIA_TRY_ASSIGN(const std::vector<Value> items, call.items());
  if (items.empty()) return Value::undefined("a list without items has no first and no last");
  return call.name == "first" ? items.front() : items.back();
}

Result<Value> join(const Call& call) {
  CRIA_TRY_ASSIGN(const std::vector<Value> items, call.items());
  CRIA_TRY_ASSIGN(const std::string separator, call.string(0, "d", ""));
  const Value* path = call.argument(1, "attribute");
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    Value item = items[i];
    if (path != nullptr) {
      CRIA_TRY_ASSIGN(item, dotted(call, item, *path));
    }
    CRIA_TRY_ASSIGN(const std::string part, to_text(call.budget(), item));
    if (i > 0) text += separator;
    text += part;
    CRIA_TRY(call.budget().spend_bytes(separator.size()));
  }
  return Value::string(std::move(text));
}

Result<Value> replace_text(const Call& call) {
  CRIA_TRY_ASSIGN(const std::string text, call.text());
  CRIA_TRY_ASSIGN(const std::string from, call.string(0, "old", ""));
  CRIA_TRY_ASSIGN(const std::string to, call.string(1, "new", ""));
  CRIA_TRY_ASSIGN(const int64_t count, call.integer(2, "count", -1));
  CRIA_TRY(call.budget().spend_search(text, from));
  CRIA_TRY(call.budget().spend_bytes(replaced_size(text, from, to)));
  return Value::string(replace(text, from, to, count));
}

Result<Value> to_integer(const Call& call) {
  CRIA_TRY_ASSIGN(const int64_t otherwise, call.integer(0, "default", 0));
  if (const auto number = call.value.as_integer()) return Value::integer(*number);
  if (const auto number = call.value.as_number()) {
    const bool fits = std::abs(*number) < 0x1p63;
    return Value::integer(fits ? static_cast<int64_t>(*number) : otherwise);
  }
  CRIA_TRY_ASSIGN(const std::string text, call.text());
  const std::string_view digits = strip(text, {}, Side::kBoth);
  int64_t value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool whole = read.ec == std::errc() && read.ptr == digits.data() + digits.size();
  return Value::integer(whole ? value : otherwise);
}

Result<Value> to_float(const Call& call) {
  if (const auto number = call.value.as_number()) return Value::number(*number);
  CRIA_TRY_ASSIGN(const std::string text, call.text());
  const std::string_view digits = strip(text, {}, Side::kBoth);
  double value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return Value::number(read.ec == std::errc() && read.ptr == digits.data() + digits.size() ? value : 0);
}

Result<Value> absolute(const Call& call) {
  if (call.value.as_number().value_or(0) >= 0 && call.value.as_number()) return call.value;
  return arithmetic(call.budget(), "-", Value::integer(0), call.value);
}

Result<Value> round_number(const Call& call) {
  const auto number = call.value.as_number();
  CRIA_TRY_ASSIGN(const int64_t digits, call.integer(0, "precision", 0));
  CRIA_TRY_ASSIGN(const std::string method, call.string(1, "method", "common"));
  if (!number || digits < 0 || digits > 15) {
    return fail(ErrorCode::kInvalidInput, "the filter \"round\" needs a number and 0 to 15 digits");
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = *number * scale;
  const double rounded = method == "ceil"    ? std::ceil(scaled)
                         : method == "floor" ? std::floor(scaled)
                                             : std::nearbyint(scaled);
  return Value::number(rounded / scale);
}

/// Keys of items that "sort", "min", … order by: an attribute where one is named, strings without regard to case.
Result<std::vector<std::pair<Value, Value>>> keyed(const Call& call, const Value* path, bool case_sensitive) {
  CRIA_TRY_ASSIGN(const std::vector<Value> items, call.items());
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) {
    Value key = item;
    if (path != nullptr && !path->is_none()) {
      CRIA_TRY_ASSIGN(key, dotted(call, item, *path));
    }
    if (!case_sensitive && key.as_string() != nullptr) {
      CRIA_TRY(call.budget().spend_bytes(key.as_string()->size()));
      key = Value::string(with_case(*key.as_string(), Case::kLower));
    }
    keyed.emplace_back(std::move(key), item);
  }
  return keyed;
}

/// Stable, and by insertion: the lists that templates sort are short, and every comparison may fail.
Result<std::vector<Value>> sorted(const Call& call, std::vector<std::pair<Value, Value>> keyed, bool reverse) {
  for (size_t i = 1; i < keyed.size(); ++i) {
    for (size_t j = i; j > 0; --j) {
      CRIA_TRY_ASSIGN(const int order, compare(call.budget(), keyed[j].first, keyed[j - 1].first));
      if (reverse ? order <= 0 : order >= 0) break;
      std::swap(keyed[j], keyed[j - 1]);
    }
  }
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return items;
}

Result<Value> sort(const Call& call) {
  CRIA_TRY_ASSIGN(auto pairs, keyed(call, call.argument(2, "attribute"), call.flag(1, "case_sensitive")));
  CRIA_TRY_ASSIGN(std::vector<Value> items, sorted(call, std::move(pairs), call.flag(0, "reverse")));
  return Value::list(std::move(items));
}

Result<Value> dictsort(const Call& call) {
  CRIA_TRY_ASSIGN(const Value pairs, items(call));
  CRIA_TRY_ASSIGN(const std::string by, call.string(1, "by", "key"));
  const Value path = Value::integer(by == "value" ? 1 : 0);
  const Call inner{call.in, call.name, pairs, call.arguments};
  CRIA_TRY_ASSIGN(auto entries, keyed(inner, &path, call.flag(0, "case_sensitive")));
  CRIA_TRY_ASSIGN(std::vector<Value> items, sorted(inner, std::move(entries), call.flag(2, "reverse")));
  return Value::list(std::move(items));
}

Result<Value> extreme(const Call& call) {
  CRIA_TRY_ASSIGN(auto pairs, keyed(call, call.argument(1, "attribute"), call.flag(0, "case_sensitive")));
  if (pairs.empty()) return Value::undefined("a list without items has no smallest and no largest");
  CRIA_TRY_ASSIGN(const std::vector<Value> items, sorted(call, std::move(pairs), call.name == "max"));
  return items.front();
}

Result<Value> unique(const Call& call) {
  CRIA_TRY_ASSIGN(auto pairs, keyed(call, call.argument(1, "attribute"), call.flag(0, "case_sensitive")));
  std::vector<Value> keys;
  std::vector<Value> items;
  for (auto& [key, item] : pairs) {
    bool known = false;
    for (const Value& other : keys) {
      CRIA_TRY_ASSIGN(known, equal(call.budget(), other, key));
      if (known) break;
    }
    if (known) continue;
    keys.push_back(key);
    items.push_back(item);
  }
  return Value::list(std::move(items));
}

Result<Value> sum(const Call& call) {
  CRIA_TRY_ASSIGN(const std::vector<Value> items, call.items());
  const Value* path = call.argument(0, "attribute");
  const Value* start = call.argument(1, "start");
  Value total = start == nullptr ? Value::integer(0) : *start;
  for (const Value& item : items) {
    Value value = item;
    if (path != nullptr && !path->is_none()) {
      CRIA_TRY_ASSIGN(value, dotted(call, item, *path));
    }
    CRIA_TRY_ASSIGN(total, arithmetic(call.budget(), "+", total, value));
  }
  return total;
}

Result<Value> reverse(const Call& call) {
  CRIA_TRY_ASSIGN(std::vector<Value> items, call.items());
  std::ranges::reverse(items);
  if (call.value.as_string() == nullptr) return Value::list(std::move(items));
  std::string text;
  for (const Value& item : items) text += *item.as_string();
  return Value::string(std::move(text));
}

Result<Value> indent(const Call& call) {
  CRIA_TRY_ASSIGN(const std::string text, call.text());
  const Value* width = call.argument(0, "width");
  std::string blanks(4, ' ');
  if (width != nullptr && width->as_string() != nullptr) {
    blanks = *width->as_string();
  } else {
    CRIA_TRY_ASSIGN(const int64_t count, call.integer(0, "width", 4));
    if (count < 0 || count > 64) return fail(ErrorCode::kInvalidInput, "the chat template indents by {} blanks", count);
    blanks.assign(static_cast<size_t>(count), ' ');
  }
  const bool first = call.flag(1, "first");
  const bool blank = call.flag(2, "blank");
  std::string result;
  const std::vector<std::string> lines = split(text, "\n", -1);
  CRIA_TRY(call.budget().spend_bytes(lines.size() * (blanks.size() + sizeof(std::string))));
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result += '\n';
    if ((i > 0 || first) && (blank || !lines[i].empty() || i == 0)) result += blanks;
    result += lines[i];
  }
  return Value::string(std::move(result));
}

Result<Value> wordcount(const Call& call) {
  CRIA_TRY_ASSIGN(const std::string text, call.text());
  CRIA_TRY(call.budget().spend_bytes(text.size() * 16));
  return Value::integer(std::ssize(split_words(text, -1)));
}

/// The arguments behind the first `count`.
Arguments behind(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(std::min(count, rest.positional.size())));
  return rest;
}

Result<Value> map(const Call& call) {
  CRIA_TRY_ASSIGN(const std::vector<Value> items, call.items());
  const Value* path = call.argument(SIZE_MAX, "attribute");
  const Value* otherwise = call.argument(SIZE_MAX, "default");
  if (path == nullptr && call.arguments.positional.empty()) {
    return fail(ErrorCode::kInvalidInput, "the filter \"map\" needs the name of a filter or an attribute");
  }
  std::vector<Value> mapped;
  for (const Value& item : items) {
    if (path != nullptr) {
      CRIA_TRY_ASSIGN(Value value, dotted(call, item, *path));
      mapped.push_back(value.is_undefined() && otherwise != nullptr ? *otherwise : std::move(value));
    } else {
      CRIA_TRY_ASSIGN(const std::string filter, call.string(0, "", ""));
      CRIA_TRY_ASSIGN(Value value, apply_filter(call.in, filter, item, behind(call.arguments, 1)));
      mapped.push_back(std::move(value));
    }
  }
  return Value::list(std::move(mapped));
}

/// select, reject, selectattr, rejectattr.
Result<Value> choose(const Call& call) {
  CRIA_TRY_ASSIGN(const std::vector<Value> items, call.items());
  const bool by_attribute = call.name.ends_with("attr");
  const size_t skipped = by_attribute ? 1 : 0;
  if (call.arguments.positional.size() < skipped) {
    return fail(ErrorCode::kInvalidInput, "the filter \"{}\" needs the name of an attribute", call.name);
  }
  std::vector<Value> kept;
  for (const Value& item : items) {
    Value value = item;
    if (by_attribute) {
      CRIA_TRY_ASSIGN(value, dotted(call, item, call.arguments.positional[0]));
    }
    bool holds = value.truth();
    if (call.arguments.positional.size() > skipped) {
      CRIA_TRY_ASSIGN(const std::string test, to_text(call.budget(), call.arguments.positional[skipped]));
      CRIA_TRY_ASSIGN(holds, apply_test(call.in, test, value, behind(call.arguments, skipped + 1)));
    }
    if (holds == call.name.starts_with("select")) kept.push_back(item);
  }
  return Value::list(std::move(kept));
}

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> known = {
      {"abs", absolute},
      {"capitalize", change_case<Case::kCapital>},
      {"count", length},
      {"d", default_value},
      {"default", default_value},
      {"dictsort", dictsort},
      {"e",
       [](const Call& call) -> Result<Value> {
         CRIA_TRY_ASSIGN(const std::string text, call.text());
         CRIA_TRY(call.budget().spend_bytes(text.size() * 5));
         return Value::string(html_escaped(text));
       }},
      {"first", end_item},
      {"float", to_float},
      {"indent", indent},
      {"int", to_integer},
      {"items", items},
      {"join", join},
      {"last", end_item},
      {"length", length},
      {"list", list},
      {"lower", change_case<Case::kLower>},
      {"map", map},
      {"max", extreme},
      {"min", extreme},
      {"reject", choose},
      {"rejectattr", choose},
      {"replace", replace_text},
      {"reverse", reverse},
      {"round", round_number},
      {"safe", [](const Call& call) { return text_of(call.text()); }},
      {"select", choose},
      {"selectattr", choose},
      {"sort", sort},
      {"string", [](const Call& call) { return text_of(call.text()); }},
      {"sum", sum},
      {"title", change_case<Case::kWords>},
      {"tojson", tojson},
      {"trim", trim},
      {"unique", unique},
      {"upper", change_case<Case::kUpper>},
      {"wordcount", wordcount}};
  return known;
}

}  // namespace

Result<Value> apply_filter(Interpreter& interpreter, const std::string& name, const Value& value,
                           const Arguments& arguments) {
  CRIA_TRY(interpreter.budget().spend_steps(1));
  const auto found = filters().find(name == "escape" ? "e" : name);
  if (found == filters().end()) {
    return fail(ErrorCode::kUnsupported, "the chat template uses the filter \"{}\", which is not supported",
                name.substr(0, 60));
  }
  return found->second({interpreter, name, value, arguments});
}

}  // namespace cria::text::jinja
