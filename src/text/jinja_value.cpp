#include "text/jinja_value.h"

#include <algorithm>
#include <cmath>

#include "text/jinja_text.h"
#include "text/unicode.h"

namespace cria::text::jinja {
namespace {

/// Values within values, when they are compared or written.
constexpr int kMaxDepth = 100;

Status check_depth(int depth) {
  if (depth <= kMaxDepth) return {};
  return fail(ErrorCode::kInvalidInput, "the chat template handles values nested deeper than {} levels", kMaxDepth);
}

Result<bool> equal_at(Budget& budget, const Value& a, const Value& b, int depth);

Result<bool> equal_items(Budget& budget, const std::vector<Value>& a, const std::vector<Value>& b, int depth) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    CRIA_TRY_ASSIGN(const bool same, equal_at(budget, a[i], b[i], depth));
    if (!same) return false;
  }
  return true;
}

Result<bool> equal_entries(Budget& budget, const Entries& a, const Entries& b, int depth) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a) {
    CRIA_TRY_ASSIGN(const Value* other, find_entry(budget, b, key));
    if (other == nullptr) return false;
    CRIA_TRY_ASSIGN(const bool same, equal_at(budget, value, *other, depth));
    if (!same) return false;
  }
  return true;
}

Result<bool> equal_at(Budget& budget, const Value& a, const Value& b, int depth) {
  CRIA_TRY(check_depth(depth));
  CRIA_TRY(budget.spend_steps(1));
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.as_integer() && b.as_integer()) return *a.as_integer() == *b.as_integer();
  if (a.as_number() && b.as_number()) return *a.as_number() == *b.as_number();
  if (a.as_string() != nullptr && b.as_string() != nullptr) {
    CRIA_TRY(budget.spend_steps(a.as_string()->size() / 64));
    return *a.as_string() == *b.as_string();
  }
  if (a.as_list() != nullptr && b.as_list() != nullptr) {
    if (a.as_list()->is_tuple != b.as_list()->is_tuple) return false;
    return equal_items(budget, a.as_list()->items, b.as_list()->items, depth + 1);
  }
  if (a.as_dict() != nullptr && b.as_dict() != nullptr) {
    return equal_entries(budget, *a.as_dict(), *b.as_dict(), depth + 1);
  }
  return a.as_object() != nullptr && a.as_object() == b.as_object();
}

/// Writes a value as Python's repr or as JSON does.
class Writer {
 public:
  Writer(Budget& budget, bool json, int indent, bool sort_keys)
      : budget_(budget), json_(json), indent_(indent), sort_keys_(sort_keys) {}

  Status write(const Value& value, int depth) {
    CRIA_TRY(check_depth(depth));
    CRIA_TRY(budget_.spend_steps(1));
    const size_t before = out_.size();
    if (const auto* text = value.as_string()) {
      append(json_ ? json_quoted(*text) : python_quoted(*text));
    } else if (const auto* list = value.as_list()) {
      CRIA_TRY(write_list(*list, depth));
      return {};
    } else if (const auto* dict = value.as_dict()) {
      return write_dict(*dict, depth);
    } else if (value.is_undefined() || value.as_object() != nullptr) {
      return fail(ErrorCode::kInvalidInput, "the chat template turns a value of kind {} into text", value.kind());
    } else {
      append(scalar(value));
    }
    return budget_.spend_bytes(out_.size() - before);
  }
  std::string take() { return std::move(out_); }

 private:
  void append(const std::string& text) { out_ += text; }

  std::string scalar(const Value& value) const {
    if (value.is_none()) return json_ ? "null" : "None";
    if (const bool* flag = value.as_boolean()) return json_ ? (*flag ? "true" : "false") : (*flag ? "True" : "False");
    if (value.is_integer()) return std::to_string(*value.as_integer());
    return float_text(*value.as_double());
  }

  void begin_item(bool is_first, int depth) {
    if (!is_first) out_ += indent_ >= 0 && json_ ? "," : ", ";
    new_line(depth);
  }
  void new_line(int depth) {
    if (json_ && indent_ >= 0)
      out_ += "\n" + std::string(static_cast<size_t>(depth) * static_cast<size_t>(indent_), ' ');
  }

  Status write_list(const Sequence& list, int depth) {
    const bool tuple = list.is_tuple && !json_;
    out_ += tuple ? '(' : '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      begin_item(i == 0, depth + 1);
      CRIA_TRY(write(list.items[i], depth + 1));
    }
    if (!list.items.empty()) new_line(depth);
    if (tuple && list.items.size() == 1) out_ += ',';
    out_ += tuple ? ')' : ']';
    return budget_.spend_bytes(8);
  }

  Status write_dict(const Entries& dict, int depth) {
    Entries sorted;
    if (sort_keys_) {
      CRIA_TRY_ASSIGN(sorted, sort_by_key(dict));
    }
    const Entries& entries = sort_keys_ ? sorted : dict;
    out_ += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      begin_item(i == 0, depth + 1);
      const Value& key = entries[i].first;
      if (json_ && key.as_string() == nullptr) {
        append(json_quoted(scalar(key)));
      } else {
        CRIA_TRY(write(key, depth + 1));
      }
      out_ += ": ";
      CRIA_TRY(write(entries[i].second, depth + 1));
    }
    if (!entries.empty()) new_line(depth);
    out_ += '}';
    return budget_.spend_bytes(8);
  }

  Result<Entries> sort_by_key(Entries entries) const {
    CRIA_TRY(budget_.spend_bytes(entries.size() * sizeof(Entries::value_type)));
    for (const auto& entry : entries) {
      if (entry.first.as_string() == nullptr) {
        return fail(ErrorCode::kInvalidInput, "the chat template sorts keys that are no strings");
      }
    }
    std::ranges::sort(entries, {}, [](const auto& entry) -> const std::string& { return *entry.first.as_string(); });
    return entries;
  }

  Budget& budget_;
  bool json_;
  int indent_;
  bool sort_keys_;
  std::string out_;
};

}  // namespace

Status Budget::spend_steps(uint64_t count) {
  if (count > steps_) return fail(ErrorCode::kInvalidInput, "the chat template takes too many steps to render");
  steps_ -= count;
  return {};
}

Status Budget::spend_bytes(uint64_t count) {
  if (count > bytes_) return fail(ErrorCode::kInvalidInput, "the chat template takes too much memory to render");
  bytes_ -= count;
  return spend_steps(count / 64);
}

Status Budget::spend_search(std::string_view text, std::string_view part) {
  return spend_steps(1 + text.size() / 16 * (1 + part.size() / 16));
}

Value Value::list(std::vector<Value> items, bool is_tuple) {
  return Value(List(std::make_shared<Sequence>(Sequence{std::move(items), is_tuple})));
}
Value Value::dict(Entries entries) { return Value(Dict(std::make_shared<Entries>(std::move(entries)))); }

template <typename AnyJson>
Value Value::from_json(const AnyJson& json) {
  switch (json.type()) {
    case AnyJson::value_t::boolean: return boolean(json.template get<bool>());
    case AnyJson::value_t::number_integer: return integer(json.template get<int64_t>());
    case AnyJson::value_t::number_unsigned:
      return json.template get<uint64_t>() <= INT64_MAX ? integer(json.template get<int64_t>())
                                                        : number(json.template get<double>());
    case AnyJson::value_t::number_float: return number(json.template get<double>());
    case AnyJson::value_t::string: return string(json.template get<std::string>());
    case AnyJson::value_t::array: {
      std::vector<Value> items;
      for (const AnyJson& item : json) items.push_back(from_json(item));
      return list(std::move(items));
    }
    case AnyJson::value_t::object: {
      Entries entries;
      for (const auto& [key, value] : json.items()) entries.emplace_back(string(key), from_json(value));
      return dict(std::move(entries));
    }
    default: return {};
  }
}
template Value Value::from_json(const Json& json);
template Value Value::from_json(const OrderedJson& json);

const std::string* Value::as_string() const {
  const auto* text = std::get_if<Text>(&data_);
  return text == nullptr ? nullptr : text->get();
}
const Sequence* Value::as_list() const {
  const auto* list = std::get_if<List>(&data_);
  return list == nullptr ? nullptr : list->get();
}
const Entries* Value::as_dict() const {
  const auto* dict = std::get_if<Dict>(&data_);
  return dict == nullptr ? nullptr : dict->get();
}
Object* Value::as_object() const {
  auto* const* object = std::get_if<Object*>(&data_);
  return object == nullptr ? nullptr : *object;
}
std::optional<int64_t> Value::as_integer() const {
  if (const auto* value = std::get_if<int64_t>(&data_)) return *value;
  if (const auto* value = std::get_if<bool>(&data_)) return *value ? 1 : 0;
  return std::nullopt;
}
std::optional<double> Value::as_number() const {
  if (const auto* value = std::get_if<double>(&data_)) return *value;
  if (const auto value = as_integer()) return static_cast<double>(*value);
  return std::nullopt;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (const auto value = as_number()) return *value != 0;
  if (const auto* text = as_string()) return !text->empty();
  if (const auto* list = as_list()) return !list->items.empty();
  if (const auto* dict = as_dict()) return !dict->empty();
  return true;
}

std::string_view Value::kind() const {
  static constexpr std::string_view kNames[] = {"undefined", "None", "boolean",    "integer", "float",
                                                "string",    "list", "dictionary", "object"};
  return kNames[data_.index()];
}

Result<const Value*> find_entry(Budget& budget, const Entries& dict, const Value& key) {
  CRIA_TRY(budget.spend_steps(1 + dict.size() / 8));
  const std::string* text = key.as_string();
  for (const auto& [known, value] : dict) {
    if (text != nullptr) {
      if (known.as_string() != nullptr && *known.as_string() == *text) return &value;
      continue;
    }
    CRIA_TRY_ASSIGN(const bool same, equal(budget, known, key));
    if (same) return &value;
  }
  return nullptr;
}

Status set_entry(Budget& budget, Entries& dict, Value key, Value value) {
  CRIA_TRY_ASSIGN(const Value* known, find_entry(budget, dict, key));
  if (known == nullptr) {
    dict.emplace_back(std::move(key), std::move(value));
    return budget.spend_bytes(sizeof(Entries::value_type));
  }
  for (auto& entry : dict) {
    if (&entry.second == known) entry.second = std::move(value);
  }
  return {};
}

Result<bool> equal(Budget& budget, const Value& a, const Value& b) { return equal_at(budget, a, b, 0); }

Result<int> compare(Budget& budget, const Value& a, const Value& b) {
  CRIA_TRY(budget.spend_steps(1));
  if (a.as_number() && b.as_number()) {
    const double x = *a.as_number();
    const double y = *b.as_number();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.as_string() != nullptr && b.as_string() != nullptr) {
    CRIA_TRY(budget.spend_steps(a.as_string()->size() / 64));
    return a.as_string()->compare(*b.as_string());  // the order of bytes is that of code points
  }
  if (a.as_list() != nullptr && b.as_list() != nullptr) {
    const auto& x = a.as_list()->items;
    const auto& y = b.as_list()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      const bool nests = x[i].as_list() != nullptr || y[i].as_list() != nullptr;
      if (nests) return fail(ErrorCode::kInvalidInput, "the chat template orders lists of lists");
      CRIA_TRY_ASSIGN(const bool same, equal(budget, x[i], y[i]));
      if (!same) return compare(budget, x[i], y[i]);
    }
    return static_cast<int>(x.size() > y.size()) - static_cast<int>(x.size() < y.size());
  }
  return fail(ErrorCode::kInvalidInput, "the chat template orders a value of kind {} and one of kind {}", a.kind(),
              b.kind());
}

Result<bool> contains(Budget& budget, const Value& haystack, const Value& needle) {
  if (const auto* text = haystack.as_string()) {
    if (needle.as_string() == nullptr) {
      return fail(ErrorCode::kInvalidInput, "the chat template looks for a value of kind {} in a string",
                  needle.kind());
    }
    CRIA_TRY(budget.spend_search(*text, *needle.as_string()));
    return text->find(*needle.as_string()) != std::string::npos;
  }
  if (const auto* dict = haystack.as_dict()) {
    CRIA_TRY_ASSIGN(const Value* found, find_entry(budget, *dict, needle));
    return found != nullptr;
  }
  CRIA_TRY_ASSIGN(const std::vector<Value> items, items_of(budget, haystack));
  for (const Value& item : items) {
    CRIA_TRY_ASSIGN(const bool same, equal(budget, item, needle));
    if (same) return true;
  }
  return false;
}

Result<std::string> to_text(Budget& budget, const Value& value) {
  if (value.is_undefined()) return std::string();
  if (const auto* text = value.as_string()) {
    CRIA_TRY(budget.spend_bytes(text->size()));
    return *text;
  }
  Writer writer(budget, /*json=*/false, -1, false);
  CRIA_TRY(writer.write(value, 0));
  return writer.take();
}

Result<std::string> to_json(Budget& budget, const Value& value, int indent, bool sort_keys) {
  Writer writer(budget, /*json=*/true, indent, sort_keys);
  CRIA_TRY(writer.write(value, 0));
  return writer.take();
}

Result<std::vector<Value>> items_of(Budget& budget, const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (const auto* list = value.as_list()) {
    CRIA_TRY(budget.spend_bytes(list->items.size() * sizeof(Value)));
    return list->items;
  }
  if (const auto* dict = value.as_dict()) {
    CRIA_TRY(budget.spend_bytes(dict->size() * sizeof(Value)));
    for (const auto& entry : *dict) items.push_back(entry.first);
    return items;
  }
  if (const auto* text = value.as_string()) {
    CRIA_TRY(budget.spend_bytes(text->size() * (sizeof(Value) + sizeof(std::string) + 16)));
    for (size_t at = 0; at < text->size();) {
      const size_t bytes = decode_utf8(*text, at).bytes;
      items.push_back(Value::string(text->substr(at, bytes)));
      at += bytes;
    }
    return items;
  }
  return fail(ErrorCode::kInvalidInput, "the chat template goes through a value of kind {}, which holds no items",
              value.kind());
}

Result<int64_t> length_of(Budget& budget, const Value& value) {
  if (value.is_undefined()) return 0;
  if (const auto* text = value.as_string()) {
    CRIA_TRY(budget.spend_steps(text->size() / 16));
    return static_cast<int64_t>(code_points(*text));
  }
  if (const auto* list = value.as_list()) return std::ssize(list->items);
  if (const auto* dict = value.as_dict()) return std::ssize(*dict);
  return fail(ErrorCode::kInvalidInput, "the chat template asks for the length of a value of kind {}", value.kind());
}

}  // namespace cria::text::jinja
