// Values of a chat template, as Jinja has them from Python: immutable, but for the attributes of a namespace.
//
// jinja_*.{h,cpp} are a small interpreter for the part of Jinja 3 that chat templates use, with transformers'
// settings (an immutable sandbox: a template can change none of the values it is given). It is our own because a
// template is hostile input: the libraries for C++ loop for ever, overflow the stack or end the process on templates
// of a few bytes (an empty separator, a remainder by 0, nested brackets). Here all work is counted, see Budget.
// Source: the documentation of Jinja 3.1 and of Python's built-in types.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace cria::text::jinja {

/// What one rendering may cost. Every value, copy and step is counted and nothing is given back, so that the
/// limits hold for time and memory alike.
class Budget {
 public:
  Budget(uint64_t steps, uint64_t bytes) : steps_(steps), bytes_(bytes) {}

  /// Errors (kInvalidInput) where more has been done than is allowed.
  Status spend_steps(uint64_t count);
  Status spend_bytes(uint64_t count);
  /// Looking for `part` at every place of `text`.
  Status spend_search(std::string_view text, std::string_view part);

 private:
  uint64_t steps_, bytes_;  // that are left
};

class Value;
struct Object;

/// A list or a tuple.
struct Sequence {
  std::vector<Value> items;
  bool is_tuple = false;
};
using Entries = std::vector<std::pair<Value, Value>>;  ///< a dictionary, in the order of insertion

class Value {
 public:
  /// What stands where a name or attribute does not exist; `what` says so in a sentence.
  struct Undefined {
    std::shared_ptr<const std::string> what;
  };
  struct None {};
  using Text = std::shared_ptr<const std::string>;
  using List = std::shared_ptr<const Sequence>;
  using Dict = std::shared_ptr<const Entries>;

  Value() : data_(None{}) {}
  static Value undefined(std::string what) { return Value(Undefined{std::make_shared<std::string>(std::move(what))}); }
  static Value boolean(bool value) { return Value(value); }
  static Value integer(int64_t value) { return Value(value); }
  static Value number(double value) { return Value(value); }
  static Value string(std::string value) { return Value(Text(std::make_shared<std::string>(std::move(value)))); }
  static Value list(std::vector<Value> items, bool is_tuple = false);
  static Value dict(Entries entries);
  /// The object must outlive the value.
  static Value object(Object& object) { return Value(&object); }
  /// Of a Json or an OrderedJson; whole numbers beyond 63 bits become floating ones.
  template <typename AnyJson>
  static Value from_json(const AnyJson& json);

  [[nodiscard]] bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  [[nodiscard]] bool is_none() const { return std::holds_alternative<None>(data_); }
  [[nodiscard]] const bool* as_boolean() const { return std::get_if<bool>(&data_); }
  [[nodiscard]] const double* as_double() const { return std::get_if<double>(&data_); }
  [[nodiscard]] const std::string* as_string() const;
  [[nodiscard]] const Sequence* as_list() const;
  [[nodiscard]] const Entries* as_dict() const;
  [[nodiscard]] Object* as_object() const;
  /// Of an integer, or of a boolean, which is 0 or 1 in Python.
  [[nodiscard]] std::optional<int64_t> as_integer() const;
  /// Of a number of any kind.
  [[nodiscard]] std::optional<double> as_number() const;
  [[nodiscard]] bool is_integer() const { return std::holds_alternative<int64_t>(data_); }
  /// The sentence of an undefined value.
  [[nodiscard]] const std::string& undefined_reason() const { return *std::get<Undefined>(data_).what; }

  /// Python's truth: false for undefined, none, false, 0, and what is empty.
  [[nodiscard]] bool truth() const;
  /// "string", "list", …, for messages.
  [[nodiscard]] std::string_view kind() const;

 private:
  using Data = std::variant<Undefined, None, bool, int64_t, double, Text, List, Dict, Object*>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

/// The entry of a dictionary, or nullptr. Steps are counted by the dictionary's size.
Result<const Value*> find_entry(Budget& budget, const Entries& dict, const Value& key);

/// Replaces the value of a key, or adds the entry.
Status set_entry(Budget& budget, Entries& dict, Value key, Value value);

/// Python's ==. Errors: kInvalidInput where the budget is spent.
Result<bool> equal(Budget& budget, const Value& a, const Value& b);
/// Negative, 0 or positive. Errors: kInvalidInput also where Python has no order for the two.
Result<int> compare(Budget& budget, const Value& a, const Value& b);
/// Python's `needle in haystack`. Errors: kInvalidInput where the second holds nothing.
Result<bool> contains(Budget& budget, const Value& haystack, const Value& needle);

/// str(value); undefined is the empty text.
Result<std::string> to_text(Budget& budget, const Value& value);
/// json.dumps(value, ensure_ascii=False): `indent` below 0 is the form in one line.
Result<std::string> to_json(Budget& budget, const Value& value, int indent, bool sort_keys);

/// The items that `for` visits: of a list, the keys of a dictionary, the characters of a string, none of an undefined
/// value. Errors: kInvalidInput for other kinds.
Result<std::vector<Value>> items_of(Budget& budget, const Value& value);

/// A string's number of code points, or the count of items. Errors: kInvalidInput for kinds without a length.
Result<int64_t> length_of(Budget& budget, const Value& value);

}  // namespace cria::text::jinja
