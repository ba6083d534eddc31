// Expressions of a template.
#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace cria::text::jinja {
namespace {

Result<Value> whole(std::optional<int64_t> value) {
  if (value) return Value::integer(*value);
  return fail(ErrorCode::kInvalidInput, "the chat template counts beyond 64 bits");
}

std::optional<int64_t> add(int64_t a, int64_t b) {
  const bool fits = b >= 0 ? a <= INT64_MAX - b : a >= INT64_MIN - b;
  return fits ? std::optional(a + b) : std::nullopt;
}
std::optional<int64_t> subtract(int64_t a, int64_t b) {
  const bool fits = b >= 0 ? a >= INT64_MIN + b : a <= INT64_MAX + b;
  return fits ? std::optional(a - b) : std::nullopt;
}
std::optional<int64_t> multiply(int64_t a, int64_t b) {
  const auto magnitude = [](int64_t x) { return x < 0 ? 0 - static_cast<uint64_t>(x) : static_cast<uint64_t>(x); };
  const auto product = checked_multiply(magnitude(a), magnitude(b));
  if (!product || *product > INT64_MAX) return std::nullopt;
  const auto value = static_cast<int64_t>(*product);
  return (a < 0) != (b < 0) ? -value : value;
}
/// Rounded down, as in Python.
std::optional<int64_t> floor_divide(int64_t a, int64_t b) {
  if (b == -1) return subtract(0, a);
  const int64_t quotient = a / b;
  return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}
std::optional<int64_t> power(int64_t base, int64_t exponent) {
  std::optional<int64_t> result = 1;
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  for (; exponent > 0 && result; --exponent) result = multiply(*result, base);  // 64 times at most
  return result;
}

Result<Value> integers(const std::string& op, int64_t a, int64_t b) {
  if (op == "+") return whole(add(a, b));
  if (op == "-") return whole(subtract(a, b));
  if (op == "*") return whole(multiply(a, b));
  if (op == "//") return whole(floor_divide(a, b));
  if (op == "%") return whole(b == -1 ? 0 : a - *floor_divide(a, b) * b);
  if (op == "**" && b >= 0) return whole(power(a, b));
  const auto x = static_cast<double>(a);
  return Value::number(op == "/" ? x / static_cast<double>(b) : std::pow(x, static_cast<double>(b)));
}

Result<Value> floats(const std::string& op, double a, double b) {
  if (op == "+") return Value::number(a + b);
  if (op == "-") return Value::number(a - b);
  if (op == "*") return Value::number(a * b);
  if (op == "/") return Value::number(a / b);
  if (op == "//") return Value::number(std::floor(a / b));
  if (op == "%") return Value::number(a - std::floor(a / b) * b);
  return Value::number(std::pow(a, b));
}

Result<Value> repeat(Budget& budget, const Value& value, int64_t times) {
  const auto count = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  const std::string* text = value.as_string();
  const uint64_t size =
      std::max<uint64_t>(1, text != nullptr ? text->size() : value.as_list()->items.size() * sizeof(Value));
  // A product that does not fit 64 bits is beyond every budget.
  CRIA_TRY(budget.spend_bytes(count > UINT64_MAX / size ? UINT64_MAX : count * size));
  if (text != nullptr) {
    std::string result;
    for (uint64_t i = 0; i < count; ++i) result += *text;
    return Value::string(std::move(result));
  }
  std::vector<Value> items;
  for (uint64_t i = 0; i < count; ++i) {
    items.insert(items.end(), value.as_list()->items.begin(), value.as_list()->items.end());
  }
  return Value::list(std::move(items), value.as_list()->is_tuple);
}

/// Python's rules for the ends of a slice of `length` items.
struct SliceRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t step = 1;
};

Result<SliceRange> slice_range(const std::optional<int64_t> (&parts)[3], int64_t length) {
  SliceRange range{.step = parts[2].value_or(1)};
  if (range.step == 0) return fail(ErrorCode::kInvalidInput, "the chat template cuts a slice with a step of 0");
  const bool down = range.step < 0;
  const auto clamp = [&](int64_t at) -> int64_t {
    if (at < -length) return down ? -1 : 0;
    if (at < 0) return at + length;
    return at < length ? at : down ? length - 1 : length;
  };
  range.begin = parts[0] ? clamp(*parts[0]) : down ? length - 1 : 0;
  range.end = parts[1] ? clamp(*parts[1]) : down ? -1 : length;
  return range;
}

}  // namespace

Result<Value> arithmetic(Budget& budget, const std::string& op, const Value& left, const Value& right) {
  for (const Value* side : {&left, &right}) {
    if (side->is_undefined()) return fail(ErrorCode::kInvalidInput, "{}", side->undefined_reason());
  }
  const auto x = left.as_number();
  const auto y = right.as_number();
  if (x && y) {
    if (*y == 0 && (op == "/" || op == "//" || op == "%" || (op == "**" && *x == 0 && *y < 0))) {
      return fail(ErrorCode::kInvalidInput, "the chat template divides by 0");
    }
    return left.as_integer() && right.as_integer() ? integers(op, *left.as_integer(), *right.as_integer())
                                                   : floats(op, *x, *y);
  }
  if (op == "+" && left.as_string() != nullptr && right.as_string() != nullptr) {
    CRIA_TRY(budget.spend_bytes(left.as_string()->size() + right.as_string()->size()));
    return Value::string(*left.as_string() + *right.as_string());
  }
  if (op == "+" && left.as_list() != nullptr && right.as_list() != nullptr) {
    std::vector<Value> items = left.as_list()->items;
    items.insert(items.end(), right.as_list()->items.begin(), right.as_list()->items.end());
    CRIA_TRY(budget.spend_bytes(items.size() * sizeof(Value)));
    return Value::list(std::move(items), left.as_list()->is_tuple);
  }
  const bool left_repeats = left.as_string() != nullptr || left.as_list() != nullptr;
  const bool right_repeats = right.as_string() != nullptr || right.as_list() != nullptr;
  if (op == "*" && left_repeats && right.as_integer()) return repeat(budget, left, *right.as_integer());
  if (op == "*" && right_repeats && left.as_integer()) return repeat(budget, right, *left.as_integer());
  return fail(ErrorCode::kInvalidInput, "the chat template has a value of kind {} {} one of kind {}", left.kind(), op,
              right.kind());
}

Result<Value> Interpreter::eval(const Expr& expr, Scope& scope) {
  const Depth depth(depth_);
  CRIA_TRY(depth.check());
  CRIA_TRY(budget_.spend_steps(1));
  return eval_kind(expr, scope);
}

Result<Value> Interpreter::eval_kind(const Expr& expr, Scope& scope) {
  using Kind = Expr::Kind;
  switch (expr.kind) {
    case Kind::kConstant: return expr.value;
    case Kind::kName: return eval_name(expr, scope);
    case Kind::kList:
    case Kind::kTuple: return eval_items(expr, scope);
    case Kind::kDict: return eval_dict(expr, scope);
    case Kind::kAttribute: {
      CRIA_TRY_ASSIGN(const Value base, eval(*expr.children[0], scope));
      return attribute(base, expr.text);
    }
    case Kind::kItem: return eval_item(expr, scope);
    case Kind::kSlice: return eval_slice(expr, scope);
    case Kind::kCall: return eval_call(expr, scope);
    case Kind::kFilter: return eval_filter(expr, scope, nullptr);
    case Kind::kTest: return eval_test(expr, scope);
    case Kind::kUnary: return eval_unary(expr, scope);
    case Kind::kAnd:
    case Kind::kOr: return eval_logic(expr, scope);
    case Kind::kCompare: return eval_compare(expr, scope);
    case Kind::kBinary: {
      CRIA_TRY_ASSIGN(const Value left, eval(*expr.children[0], scope));
      CRIA_TRY_ASSIGN(const Value right, eval(*expr.children[1], scope));
      return arithmetic(budget_, expr.text, left, right);
    }
    case Kind::kConcat: return eval_concat(expr, scope);
    case Kind::kConditional: return eval_conditional(expr, scope);
  }
  return Value();
}

Result<Value> Interpreter::eval_name(const Expr& expr, Scope& scope) {
  if (const Value* known = scope.find(expr.text)) return *known;
  if (!has_function(expr.text)) return Value::undefined(fmt::format("\"{}\" is undefined", expr.text));
  CRIA_TRY_ASSIGN(Object * function, make_object(Object::Kind::kFunction));
  function->name = expr.text;
  return Value::object(*function);
}

Result<Value> Interpreter::eval_items(const Expr& expr, Scope& scope) {
  std::vector<Value> items;
  for (const ExprPtr& child : expr.children) {
    CRIA_TRY_ASSIGN(Value item, eval(*child, scope));
    items.push_back(std::move(item));
  }
  CRIA_TRY(budget_.spend_bytes(items.size() * sizeof(Value)));
  return Value::list(std::move(items), expr.kind == Expr::Kind::kTuple);
}

Result<Value> Interpreter::eval_dict(const Expr& expr, Scope& scope) {
  Entries entries;
  for (size_t i = 0; i + 1 < expr.children.size(); i += 2) {
    CRIA_TRY_ASSIGN(Value key, eval(*expr.children[i], scope));
    CRIA_TRY_ASSIGN(Value value, eval(*expr.children[i + 1], scope));
    if (key.as_list() != nullptr || key.as_dict() != nullptr || key.is_undefined() || key.as_object() != nullptr) {
      return fail(ErrorCode::kInvalidInput, "the chat template makes a dictionary with a key of kind {}", key.kind());
    }
    CRIA_TRY(set_entry(budget_, entries, std::move(key), std::move(value)));
  }
  CRIA_TRY(budget_.spend_bytes(entries.size() * 2 * sizeof(Value)));
  return Value::dict(std::move(entries));
}

/// By Jinja's rules: what is not there is undefined, but an undefined value has no attributes.
Result<Value> Interpreter::attribute(const Value& base, const std::string& name) {
  if (base.is_undefined()) return fail(ErrorCode::kInvalidInput, "{}", base.undefined_reason());
  if (const Entries* dict = base.as_dict()) {
    CRIA_TRY_ASSIGN(const Value* found, find_entry(budget_, *dict, Value::string(name)));
    if (found != nullptr) return *found;
  } else if (const Object* object = base.as_object()) {
    if (object->kind == Object::Kind::kLoop) return loop_attribute(*object, name);
    const Value* found = object->kind == Object::Kind::kNamespace ? object->fields.find(name) : nullptr;
    if (found != nullptr) return *found;
  }
  return Value::undefined(fmt::format("a value of kind {} has no attribute \"{}\"", base.kind(), name));
}

Result<Value> Interpreter::item(const Value& base, const Value& index) {
  if (base.is_undefined()) return fail(ErrorCode::kInvalidInput, "{}", base.undefined_reason());
  if (const Entries* dict = base.as_dict()) {
    CRIA_TRY_ASSIGN(const Value* found, find_entry(budget_, *dict, index));
    if (found != nullptr) return *found;
  } else if (index.as_string() != nullptr) {
    return attribute(base, *index.as_string());
  } else if (const auto wanted = index.as_integer();
             wanted && (base.as_list() != nullptr || base.as_string() != nullptr)) {
    CRIA_TRY_ASSIGN(const int64_t length, length_of(budget_, base));
    const int64_t at = *wanted < 0 ? *wanted + length : *wanted;
    if (at >= 0 && at < length) {
      const auto position = static_cast<size_t>(at);
      if (const Sequence* list = base.as_list()) return list->items[position];
      const std::vector<size_t> offsets = code_point_offsets(*base.as_string());
      return Value::string(base.as_string()->substr(offsets[position], offsets[position + 1] - offsets[position]));
    }
  }
  CRIA_TRY_ASSIGN(const std::string shown, to_text(budget_, index));
  return Value::undefined(fmt::format("a value of kind {} has no item {}", base.kind(), shown.substr(0, 60)));
}

Result<Value> Interpreter::eval_item(const Expr& expr, Scope& scope) {
  CRIA_TRY_ASSIGN(const Value base, eval(*expr.children[0], scope));
  CRIA_TRY_ASSIGN(const Value index, eval(*expr.children[1], scope));
  return item(base, index);
}

Result<Value> Interpreter::eval_slice(const Expr& expr, Scope& scope) {
  CRIA_TRY_ASSIGN(const Value base, eval(*expr.children[0], scope));
  std::optional<int64_t> parts[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.children[i + 1] == nullptr) continue;
    CRIA_TRY_ASSIGN(const Value part, eval(*expr.children[i + 1], scope));
    parts[i] = part.as_integer();
    if (!parts[i] && !part.is_none()) {
      return fail(ErrorCode::kInvalidInput, "the chat template cuts a slice at a value of kind {}", part.kind());
    }
  }
  if (base.is_undefined()) return fail(ErrorCode::kInvalidInput, "{}", base.undefined_reason());
  const std::string* text = base.as_string();
  const Sequence* list = base.as_list();
  if (text == nullptr && list == nullptr) {
    return fail(ErrorCode::kInvalidInput, "the chat template cuts a slice of a value of kind {}", base.kind());
  }
  CRIA_TRY_ASSIGN(const int64_t length, length_of(budget_, base));
  CRIA_TRY_ASSIGN(const SliceRange range, slice_range(parts, length));
  CRIA_TRY(budget_.spend_bytes(static_cast<uint64_t>(length) * sizeof(Value)));
  const std::vector<size_t> offsets = text != nullptr ? code_point_offsets(*text) : std::vector<size_t>();
  std::string cut;
  std::vector<Value> items;
  for (int64_t i = range.begin; range.step > 0 ? i < range.end : i > range.end;) {
    const auto at = static_cast<size_t>(i);
    if (text != nullptr) {
      cut.append(*text, offsets[at], offsets[at + 1] - offsets[at]);
    } else {
      items.push_back(list->items[at]);
    }
    const auto next = add(i, range.step);
    if (!next) break;
    i = *next;
  }
  return text != nullptr ? Value::string(std::move(cut)) : Value::list(std::move(items), list->is_tuple);
}

Result<Arguments> Interpreter::eval_arguments(const std::vector<Argument>& list, Scope& scope) {
  Arguments arguments;
  for (const Argument& argument : list) {
    CRIA_TRY_ASSIGN(Value value, eval(*argument.value, scope));
    if (argument.name.empty()) {
      arguments.positional.push_back(std::move(value));
    } else {
      arguments.named.emplace_back(argument.name, std::move(value));
    }
  }
  return arguments;
}

Result<Value> Interpreter::eval_call(const Expr& expr, Scope& scope) {
  const Expr& callee = *expr.children[0];
  if (callee.kind != Expr::Kind::kAttribute) {
    CRIA_TRY_ASSIGN(const Value function, eval(callee, scope));
    CRIA_TRY_ASSIGN(const Arguments arguments, eval_arguments(expr.arguments, scope));
    return call(function, arguments);
  }
  CRIA_TRY_ASSIGN(const Value self, eval(*callee.children[0], scope));
  CRIA_TRY_ASSIGN(const Arguments arguments, eval_arguments(expr.arguments, scope));
  if (has_method(self, callee.text)) return call_method(*this, self, callee.text, arguments);
  CRIA_TRY_ASSIGN(const Value function, attribute(self, callee.text));
  return call(function, arguments);
}

Result<Value> Interpreter::eval_filter(const Expr& expr, Scope& scope, const Value* base) {
  const Depth depth(depth_);
  CRIA_TRY(depth.check());
  Value value;
  if (expr.kind != Expr::Kind::kFilter) {
    return fail(ErrorCode::kUnsupported, "line {}: only filters may stand here", expr.line);
  }
  if (expr.children.empty()) {
    value = *base;
  } else if (base != nullptr) {
    CRIA_TRY_ASSIGN(value, eval_filter(*expr.children[0], scope, base));
  } else {
    CRIA_TRY_ASSIGN(value, eval(*expr.children[0], scope));
  }
  CRIA_TRY_ASSIGN(const Arguments arguments, eval_arguments(expr.arguments, scope));
  return apply_filter(*this, expr.text, value, arguments);
}

Result<Value> Interpreter::eval_test(const Expr& expr, Scope& scope) {
  CRIA_TRY_ASSIGN(const Value value, eval(*expr.children[0], scope));
  CRIA_TRY_ASSIGN(const Arguments arguments, eval_arguments(expr.arguments, scope));
  CRIA_TRY_ASSIGN(const bool holds, apply_test(*this, expr.text, value, arguments));
  return Value::boolean(holds);
}

Result<Value> Interpreter::eval_unary(const Expr& expr, Scope& scope) {
  CRIA_TRY_ASSIGN(const Value value, eval(*expr.children[0], scope));
  if (expr.text == "not") return Value::boolean(!value.truth());
  if (const double* number = value.as_double()) return Value::number(expr.text == "-" ? -*number : *number);
  return arithmetic(budget_, expr.text, Value::integer(0), value);
}

Result<Value> Interpreter::eval_logic(const Expr& expr, Scope& scope) {
  CRIA_TRY_ASSIGN(const Value left, eval(*expr.children[0], scope));
  if (left.truth() == (expr.kind == Expr::Kind::kOr)) return left;
  return eval(*expr.children[1], scope);
}

Result<Value> Interpreter::eval_compare(const Expr& expr, Scope& scope) {
  CRIA_TRY_ASSIGN(Value left, eval(*expr.children[0], scope));
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    const std::string& op = expr.operators[i];
    CRIA_TRY_ASSIGN(Value right, eval(*expr.children[i + 1], scope));
    bool holds = false;
    if (op == "==" || op == "!=") {
      CRIA_TRY_ASSIGN(const bool same, equal(budget_, left, right));
      holds = same == (op == "==");
    } else if (op == "in" || op == "not in") {
      CRIA_TRY_ASSIGN(const bool found, contains(budget_, right, left));
      holds = found == (op == "in");
    } else {
      for (const Value* side : {&left, &right}) {
        if (side->is_undefined()) return fail(ErrorCode::kInvalidInput, "{}", side->undefined_reason());
      }
      CRIA_TRY_ASSIGN(const int order, compare(budget_, left, right));
      holds = op == "<" ? order < 0 : op == ">" ? order > 0 : op == "<=" ? order <= 0 : order >= 0;
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Result<Value> Interpreter::eval_concat(const Expr& expr, Scope& scope) {
  CRIA_TRY_ASSIGN(const Value left, eval(*expr.children[0], scope));
  CRIA_TRY_ASSIGN(const Value right, eval(*expr.children[1], scope));
  CRIA_TRY_ASSIGN(std::string text, to_text(budget_, left));
  CRIA_TRY_ASSIGN(const std::string rest, to_text(budget_, right));
  return Value::string(text += rest);
}

Result<Value> Interpreter::eval_conditional(const Expr& expr, Scope& scope) {
  CRIA_TRY_ASSIGN(const Value condition, eval(*expr.children[1], scope));
  if (condition.truth()) return eval(*expr.children[0], scope);
  if (expr.children[2] != nullptr) return eval(*expr.children[2], scope);
  return Value::undefined("a condition without \"else\" did not hold");
}

}  // namespace cria::text::jinja
