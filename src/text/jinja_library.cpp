// Tests, methods of strings and dictionaries, and the functions that every template can call.
#include <algorithm>
#include <ctime>
#include <map>

#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace cria::text::jinja {
namespace {

std::unexpected<Error> needs(std::string_view who, std::string_view what) {
  return fail(ErrorCode::kInvalidInput, "the chat template calls \"{}\", which needs {}", who, what);
}

/// The orders that tests and comparisons name.
std::optional<std::string_view> comparison_name(std::string_view name) {
  static const std::map<std::string_view, std::string_view> kNames = {
      {"eq", "=="}, {"equalto", "=="}, {"==", "=="},         {"ne", "!="}, {"!=", "!="},
      {"gt", ">"},  {">", ">"},        {"greaterthan", ">"}, {"ge", ">="}, {">=", ">="},
      {"lt", "<"},  {"<", "<"},        {"lessthan", "<"},    {"le", "<="}, {"<=", "<="}};
  const auto found = kNames.find(name);
  return found == kNames.end() ? std::nullopt : std::optional(found->second);
}

Result<bool> test_order(Budget& budget, std::string_view op, const Value& a, const Value& b) {
  if (op == "==" || op == "!=") {
    CRIA_TRY_ASSIGN(const bool same, equal(budget, a, b));
    return same == (op == "==");
  }
  CRIA_TRY_ASSIGN(const int order, compare(budget, a, b));
  return op == "<" ? order < 0 : op == ">" ? order > 0 : op == "<=" ? order <= 0 : order >= 0;
}

/// Tests of what kind a value is; nothing for another test.
std::optional<bool> test_kind(std::string_view name, const Value& value) {
  const bool is_container = value.as_list() != nullptr || value.as_dict() != nullptr || value.as_string() != nullptr;
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "string") return value.as_string() != nullptr;
  if (name == "mapping") return value.as_dict() != nullptr;
  if (name == "sequence") return is_container || value.is_undefined();
  if (name == "iterable") return is_container || value.is_undefined();
  if (name == "boolean") return value.as_boolean() != nullptr;
  if (name == "true") return value.as_boolean() != nullptr && *value.as_boolean();
  if (name == "false") return value.as_boolean() != nullptr && !*value.as_boolean();
  if (name == "integer") return value.is_integer();
  if (name == "float") return value.as_double() != nullptr;
  if (name == "number") return value.as_number().has_value();
  if (name == "callable") {
    return value.as_object() != nullptr && value.as_object()->kind != Object::Kind::kNamespace;
  }
  return std::nullopt;
}

Result<std::string> string_argument(const Arguments& arguments, size_t position, std::string_view method) {
  const Value* given = arguments.find(position, "");
  if (given == nullptr || given->as_string() == nullptr) return needs(method, "a string");
  return *given->as_string();
}

Result<int64_t> integer_argument(const Arguments& arguments, size_t position, std::string_view name, int64_t otherwise,
                                 std::string_view method) {
  const Value* given = arguments.find(position, name);
  if (given == nullptr) return otherwise;
  if (const auto number = given->as_integer()) return *number;
  return needs(method, "a whole number");
}

struct MethodCall {
  Budget& budget;
  const std::string& name;
  const std::string& self;
  const Arguments& arguments;
};
using Method = Result<Value> (*)(const MethodCall&);

Value strings(std::vector<std::string> parts) {
  std::vector<Value> items;
  for (std::string& part : parts) items.push_back(Value::string(std::move(part)));
  return Value::list(std::move(items));
}

Result<Value> strip_method(const MethodCall& call) {
  const Value* given = call.arguments.find(0, "");
  std::string characters;
  if (given != nullptr && !given->is_none()) {
    CRIA_TRY_ASSIGN(characters, string_argument(call.arguments, 0, call.name));
  }
  const Side side = call.name == "lstrip" ? Side::kLeft : call.name == "rstrip" ? Side::kRight : Side::kBoth;
  const bool nothing = given != nullptr && !given->is_none() && characters.empty();
  return Value::string(nothing ? call.self : std::string(strip(call.self, characters, side)));
}

Result<Value> split_method(const MethodCall& call) {
  CRIA_TRY_ASSIGN(const int64_t limit, integer_argument(call.arguments, 1, "maxsplit", -1, call.name));
  CRIA_TRY(call.budget.spend_bytes(call.self.size() * 16));
  const Value* given = call.arguments.find(0, "sep");
  if (given == nullptr || given->is_none()) return strings(split_words(call.self, limit));
  if (given->as_string() == nullptr || given->as_string()->empty()) return needs(call.name, "a separator");
  const std::string& separator = *given->as_string();
  CRIA_TRY(call.budget.spend_search(call.self, separator));
  std::vector<std::string> parts = split(call.self, separator, call.name == "split" ? limit : -1);
  if (call.name == "rsplit" && limit >= 0) {  // the parts that are too many go together at the left
    while (std::ssize(parts) > limit + 1) {
      CRIA_TRY(call.budget.spend_bytes(parts[0].size() + parts[1].size()));
      parts[0] += separator + parts[1];
      parts.erase(parts.begin() + 1);
    }
  }
  return strings(std::move(parts));
}

/// startswith and endswith: a string or a tuple of strings.
Result<Value> affix_method(const MethodCall& call) {
  const Value* given = call.arguments.find(0, "");
  std::vector<Value> affixes;
  if (given != nullptr && given->as_list() != nullptr) {
    affixes = given->as_list()->items;
  } else if (given != nullptr) {
    affixes.push_back(*given);
  }
  for (const Value& affix : affixes) {
    if (affix.as_string() == nullptr) return needs(call.name, "a string");
    const bool holds =
        call.name == "startswith" ? call.self.starts_with(*affix.as_string()) : call.self.ends_with(*affix.as_string());
    if (holds) return Value::boolean(true);
  }
  if (given == nullptr) return needs(call.name, "a string");
  return Value::boolean(false);
}

Result<Value> replace_method(const MethodCall& call) {
  CRIA_TRY_ASSIGN(const std::string from, string_argument(call.arguments, 0, call.name));
  CRIA_TRY_ASSIGN(const std::string to, string_argument(call.arguments, 1, call.name));
  CRIA_TRY_ASSIGN(const int64_t count, integer_argument(call.arguments, 2, "count", -1, call.name));
  CRIA_TRY(call.budget.spend_search(call.self, from));
  CRIA_TRY(call.budget.spend_bytes(replaced_size(call.self, from, to)));
  return Value::string(replace(call.self, from, to, count));
}

/// find, rfind, index, rindex, count.
Result<Value> search_method(const MethodCall& call) {
  CRIA_TRY_ASSIGN(const std::string part, string_argument(call.arguments, 0, call.name));
  CRIA_TRY(call.budget.spend_search(call.self, part));
  if (call.name == "count") {
    if (part.empty()) return Value::integer(static_cast<int64_t>(code_points(call.self)) + 1);
    CRIA_TRY(call.budget.spend_bytes(call.self.size() * 16));
    return Value::integer(std::ssize(split(call.self, part, -1)) - 1);
  }
  const size_t at = call.name.starts_with('r') ? call.self.rfind(part) : call.self.find(part);
  if (at != std::string::npos) {
    return Value::integer(static_cast<int64_t>(code_points(std::string_view(call.self).substr(0, at))));
  }
  if (call.name.ends_with("find")) return Value::integer(-1);
  return fail(ErrorCode::kInvalidInput, "the chat template looks for a substring that is not there");
}

Result<Value> case_method(const MethodCall& call) {
  const Case wanted = call.name == "upper"   ? Case::kUpper
                      : call.name == "lower" ? Case::kLower
                      : call.name == "title" ? Case::kTitle
                                             : Case::kCapital;
  return Value::string(with_case(call.self, wanted));
}

Result<Value> lines_method(const MethodCall& call) {
  CRIA_TRY(call.budget.spend_bytes(call.self.size() * 16));
  const Value* keep = call.arguments.find(0, "keepends");
  return strings(split_lines(call.self, keep != nullptr && keep->truth()));
}

Result<Value> join_method(const MethodCall& call) {
  const Value* given = call.arguments.find(0, "");
  if (given == nullptr) return needs(call.name, "a list");
  CRIA_TRY_ASSIGN(const std::vector<Value> items, items_of(call.budget, *given));
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].as_string() == nullptr) return needs(call.name, "a list of strings");
    CRIA_TRY(call.budget.spend_bytes(call.self.size() + items[i].as_string()->size()));
    if (i > 0) text += call.self;
    text += *items[i].as_string();
  }
  return Value::string(std::move(text));
}

Result<Value> remove_method(const MethodCall& call) {
  CRIA_TRY_ASSIGN(const std::string affix, string_argument(call.arguments, 0, call.name));
  std::string_view text = call.self;
  if (call.name == "removeprefix" && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (call.name == "removesuffix" && text.ends_with(affix)) text.remove_suffix(affix.size());
  return Value::string(std::string(text));
}

/// isdigit, isalpha, isalnum, isspace: of all characters, of which there is one at least.
Result<Value> property_method(const MethodCall& call) {
  for (size_t at = 0; at < call.self.size();) {
    const CodePoint point = decode_utf8(call.self, at);
    at += point.bytes;
    const bool digit = point.value >= '0' && point.value <= '9';
    const bool holds = call.name == "isdigit"   ? digit
                       : call.name == "isalpha" ? is_letter(point.value)
                       : call.name == "isalnum" ? is_letter(point.value) || is_number(point.value)
                                                : is_white_space(point.value);
    if (!holds) return Value::boolean(false);
  }
  return Value::boolean(!call.self.empty());
}

const std::map<std::string_view, Method>& string_methods() {
  static const std::map<std::string_view, Method> known = {
      {"strip", strip_method},        {"lstrip", strip_method},     {"rstrip", strip_method},
      {"split", split_method},        {"rsplit", split_method},     {"splitlines", lines_method},
      {"startswith", affix_method},   {"endswith", affix_method},   {"replace", replace_method},
      {"find", search_method},        {"rfind", search_method},     {"index", search_method},
      {"rindex", search_method},      {"count", search_method},     {"upper", case_method},
      {"lower", case_method},         {"title", case_method},       {"capitalize", case_method},
      {"join", join_method},          {"isdigit", property_method}, {"isalpha", property_method},
      {"isalnum", property_method},   {"isspace", property_method}, {"removeprefix", remove_method},
      {"removesuffix", remove_method}};
  return known;
}

Result<Value> call_dict_method(Budget& budget, const Entries& dict, std::string_view name, const Arguments& arguments) {
  CRIA_TRY(budget.spend_bytes(dict.size() * 4 * sizeof(Value)));
  if (name == "get") {
    const Value* key = arguments.find(0, "");
    if (key == nullptr) return needs(name, "a key");
    CRIA_TRY_ASSIGN(const Value* found, find_entry(budget, dict, *key));
    const Value* otherwise = arguments.find(1, "default");
    return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value();
  }
  if (name == "copy") return Value::dict(dict);
  std::vector<Value> items;
  for (const auto& [key, value] : dict) {
    items.push_back(name == "keys" ? key : name == "values" ? value : Value::list({key, value}, true));
  }
  return Value::list(std::move(items));
}

Result<Value> range(Interpreter& in, const Arguments& arguments) {
  constexpr int64_t kMaxItems = 100'000;  // as in Jinja's sandbox
  CRIA_TRY_ASSIGN(int64_t end, integer_argument(arguments, 0, "", 0, "range"));
  int64_t begin = 0;
  if (arguments.positional.size() > 1) {
    begin = end;
    CRIA_TRY_ASSIGN(end, integer_argument(arguments, 1, "", 0, "range"));
  }
  CRIA_TRY_ASSIGN(const int64_t step, integer_argument(arguments, 2, "", 1, "range"));
  if (step == 0 || arguments.positional.empty()) return needs("range", "an end, and a step that is not 0");
  std::vector<Value> items;
  for (int64_t value = begin; step > 0 ? value < end : value > end; value += step) {
    if (std::ssize(items) == kMaxItems) {
      return fail(ErrorCode::kInvalidInput, "the chat template makes a range of more than {} numbers",
                  with_commas(kMaxItems));
    }
    items.push_back(Value::integer(value));
    if (step > 0 ? value > INT64_MAX - step : value < INT64_MIN - step) break;
  }
  CRIA_TRY(in.budget().spend_bytes(items.size() * sizeof(Value)));
  return Value::list(std::move(items));
}

/// The present local time. Only the usual letters, as the C library is lost with others on some systems.
Result<Value> strftime_now(const Arguments& arguments) {
  CRIA_TRY_ASSIGN(const std::string format, string_argument(arguments, 0, "strftime_now"));
  if (format.size() > 100) return needs("strftime_now", "a format of at most 100 bytes");
  for (size_t at = format.find('%'); at != std::string::npos; at = format.find('%', at + 1)) {
    if (at + 1 < format.size() && format[at + 1] == '-') ++at;
    ++at;
    static constexpr std::string_view kLetters = "aAbBcdHIjmMpSUwWxXyYzZeFT%";
    if (at >= format.size() || kLetters.find(format[at]) == std::string_view::npos) {
      return needs("strftime_now", "a format of known letters");
    }
  }
  const std::time_t now = std::time(nullptr);
  std::tm local{};
#ifdef _WIN32
  localtime_s(&local, &now);
#else
  localtime_r(&now, &local);
#endif
  char text[2048];
  return Value::string(std::string(text, std::strftime(text, sizeof(text), format.c_str(), &local)));
}

Result<Value> make_namespace(Interpreter& in, const Arguments& arguments) {
  CRIA_TRY_ASSIGN(Object * object, in.make_object(Object::Kind::kNamespace));
  if (!arguments.positional.empty()) {
    const Entries* dict = arguments.positional[0].as_dict();
    if (dict == nullptr) return needs("namespace", "a dictionary");
    for (const auto& [key, value] : *dict) {
      CRIA_TRY_ASSIGN(const std::string name, to_text(in.budget(), key));
      object->fields.set(name, value);
    }
  }
  for (const auto& [name, value] : arguments.named) object->fields.set(name, value);
  return Value::object(*object);
}

Result<Value> make_dict(Interpreter& in, const Arguments& arguments) {
  Entries entries;
  if (!arguments.positional.empty()) {
    if (arguments.positional[0].as_dict() == nullptr) return needs("dict", "a dictionary");
    entries = *arguments.positional[0].as_dict();
  }
  for (const auto& [name, value] : arguments.named) {
    CRIA_TRY(set_entry(in.budget(), entries, Value::string(name), value));
  }
  CRIA_TRY(in.budget().spend_bytes(entries.size() * 2 * sizeof(Value)));
  return Value::dict(std::move(entries));
}

Result<Value> make_joiner(Interpreter& in, const Arguments& arguments) {
  CRIA_TRY_ASSIGN(Object * object, in.make_object(Object::Kind::kJoiner));
  const Value* separator = arguments.find(0, "sep");
  object->fields.set("sep", separator == nullptr ? Value::string(", ") : *separator);
  return Value::object(*object);
}

}  // namespace

Result<bool> apply_test(Interpreter& interpreter, const std::string& name, const Value& value,
                        const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  CRIA_TRY(budget.spend_steps(1));
  if (const auto holds = test_kind(name, value)) return *holds;
  const Value* operand = arguments.find(0, "");
  if (const auto op = comparison_name(name)) {
    if (operand == nullptr) return needs(name, "something to compare with");
    return test_order(budget, *op, value, *operand);
  }
  if (name == "in") {
    if (operand == nullptr) return needs(name, "something to look in");
    return contains(budget, *operand, value);
  }
  if (name == "sameas") {
    if (operand == nullptr) return needs(name, "something to compare with");
    CRIA_TRY_ASSIGN(const bool same, equal(budget, value, *operand));
    return same && operand->kind() == value.kind();
  }
  const auto number = value.as_integer();
  if (name == "even" || name == "odd") {
    if (!number) return needs(name, "a whole number");
    return (*number % 2 == 0) == (name == "even");
  }
  if (name == "divisibleby") {
    const auto divisor = operand == nullptr ? std::nullopt : operand->as_integer();
    if (!number || !divisor || *divisor == 0) return needs(name, "whole numbers, the second not 0");
    return *divisor == -1 || *number % *divisor == 0;
  }
  if (name == "upper" || name == "lower") {
    CRIA_TRY_ASSIGN(const std::string text, to_text(budget, value));
    return !text.empty() && with_case(text, name == "upper" ? Case::kUpper : Case::kLower) == text;
  }
  return fail(ErrorCode::kUnsupported, "the chat template uses the test \"{}\", which is not supported",
              name.substr(0, 60));
}

bool has_method(const Value& self, std::string_view name) {
  if (self.as_string() != nullptr) return string_methods().contains(name);
  if (self.as_dict() != nullptr) {
    return name == "get" || name == "items" || name == "keys" || name == "values" || name == "copy";
  }
  const Object* object = self.as_object();
  return object != nullptr && object->kind == Object::Kind::kLoop && (name == "cycle" || name == "changed");
}

Result<Value> call_method(Interpreter& interpreter, const Value& self, const std::string& name,
                          const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  if (const std::string* text = self.as_string()) {
    CRIA_TRY(budget.spend_bytes(text->size()));
    return string_methods().at(name)({budget, name, *text, arguments});
  }
  if (const Entries* dict = self.as_dict()) return call_dict_method(budget, *dict, name, arguments);
  Object& loop = *self.as_object();
  if (arguments.positional.empty()) return needs(name, "arguments");
  if (name == "cycle") return arguments.positional[loop.index % arguments.positional.size()];
  const Value now = Value::list(arguments.positional, true);
  CRIA_TRY_ASSIGN(const bool same, equal(budget, loop.last_changed, now));
  loop.last_changed = now;
  return Value::boolean(!same);
}

bool has_function(std::string_view name) {
  static constexpr std::string_view kNames[] = {"range",  "namespace",       "dict",
                                                "joiner", "raise_exception", "strftime_now"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

Result<Value> call_function(Interpreter& interpreter, const std::string& name, const Arguments& arguments) {
  if (name == "range") return range(interpreter, arguments);
  if (name == "namespace") return make_namespace(interpreter, arguments);
  if (name == "dict") return make_dict(interpreter, arguments);
  if (name == "joiner") return make_joiner(interpreter, arguments);
  if (name == "strftime_now") return strftime_now(arguments);
  const Value* message = arguments.find(0, "message");
  CRIA_TRY_ASSIGN(const std::string text, to_text(interpreter.budget(), message == nullptr ? Value() : *message));
  return fail(ErrorCode::kInvalidInput, "the chat template refuses this conversation: {}", text.substr(0, 500));
}

}  // namespace cria::text::jinja
