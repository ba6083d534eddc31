#include <algorithm>
#include <charconv>

#include "text/jinja_parser.h"

namespace cria::text::jinja {
namespace {

/// Brackets within brackets, and levels of the tree: what is evaluated later must not overflow the stack.
constexpr int kMaxNesting = 60;
constexpr uint32_t kMaxDepth = 200;

std::string shown(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kText: return "text";
    case Token::Kind::kPrintBegin: return "\"{{\"";
    case Token::Kind::kPrintEnd: return "\"}}\"";
    case Token::Kind::kBlockBegin: return "\"{%\"";
    case Token::Kind::kBlockEnd: return "\"%}\"";
    case Token::Kind::kEnd: return "the end of the template";
    default: return fmt::format("\"{}\"", token.text.substr(0, 60));
  }
}

}  // namespace

/// Counts a level of brackets or signs while it is being read.
class ExpressionParser::Nesting {
 public:
  explicit Nesting(ExpressionParser& parser) : parser_(parser) { ++parser_.nesting_; }
  ~Nesting() { --parser_.nesting_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  [[nodiscard]] Status check() const {
    if (parser_.nesting_ <= kMaxNesting) return {};
    return fail(ErrorCode::kInvalidInput, "line {}: an expression is nested deeper than {} levels", parser_.peek().line,
                kMaxNesting);
  }

 private:
  ExpressionParser& parser_;
};

bool ExpressionParser::skip_name(std::string_view text) {
  if (!is_name(text)) return false;
  ++at_;
  return true;
}
bool ExpressionParser::skip_operator(std::string_view text) {
  if (!is_operator(text)) return false;
  ++at_;
  return true;
}
Status ExpressionParser::expect_operator(std::string_view text) {
  if (skip_operator(text)) return {};
  return unexpected(fmt::format("\"{}\"", text));
}
Status ExpressionParser::expect_name(std::string_view text) {
  if (skip_name(text)) return {};
  return unexpected(fmt::format("\"{}\"", text));
}
Status ExpressionParser::expect(Token::Kind kind, std::string_view what) {
  if (!is(kind)) return unexpected(what);
  ++at_;
  return {};
}
Result<std::string> ExpressionParser::take_name() {
  if (!is(Token::Kind::kName)) return unexpected("a name");
  return take().text;
}

std::unexpected<Error> ExpressionParser::unexpected(std::string_view wanted) const {
  return fail(ErrorCode::kInvalidInput, "line {}: {} stands where {} belongs", peek().line, shown(peek()), wanted);
}

ExprPtr ExpressionParser::make(Expr::Kind kind) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = peek().line;
  return expr;
}

Result<ExprPtr> ExpressionParser::finish(ExprPtr expr) const {
  uint32_t deepest = 0;
  for (const ExprPtr& child : expr->children) deepest = std::max(deepest, child ? child->depth : 0);
  for (const Argument& argument : expr->arguments) deepest = std::max(deepest, argument.value->depth);
  expr->depth = deepest + 1;
  if (expr->depth <= kMaxDepth) return expr;
  return fail(ErrorCode::kInvalidInput, "line {}: an expression has more than {} operations, one on the other",
              expr->line, kMaxDepth);
}

Result<ExprPtr> ExpressionParser::binary(Expr::Kind kind, std::string_view op, ExprPtr left, ExprPtr right) const {
  ExprPtr expr = make(kind);
  expr->text = op;
  expr->children.push_back(std::move(left));
  expr->children.push_back(std::move(right));
  return finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::expression() {
  const Nesting nesting(*this);
  CRIA_TRY(nesting.check());
  CRIA_TRY_ASSIGN(ExprPtr result, conditional_free());
  while (skip_name("if")) {
    ExprPtr expr = make(Expr::Kind::kConditional);
    CRIA_TRY_ASSIGN(ExprPtr condition, conditional_free());
    ExprPtr otherwise;
    if (skip_name("else")) {
      CRIA_TRY_ASSIGN(otherwise, expression());
    }
    expr->children.push_back(std::move(result));
    expr->children.push_back(std::move(condition));
    expr->children.push_back(std::move(otherwise));
    CRIA_TRY_ASSIGN(result, finish(std::move(expr)));
  }
  return result;
}

Result<ExprPtr> ExpressionParser::tuple(bool with_condition) {
  const Nesting nesting(*this);
  CRIA_TRY(nesting.check());
  const auto item = [&] { return with_condition ? expression() : conditional_free(); };
  CRIA_TRY_ASSIGN(ExprPtr first, item());
  if (!is_operator(",")) return first;
  ExprPtr expr = make(Expr::Kind::kTuple);
  expr->children.push_back(std::move(first));
  while (skip_operator(",")) {
    if (is(Token::Kind::kBlockEnd) || is(Token::Kind::kPrintEnd) || is_operator(")") || is_operator("=")) break;
    CRIA_TRY_ASSIGN(ExprPtr next, item());
    expr->children.push_back(std::move(next));
  }
  return finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::conditional_free() {
  CRIA_TRY_ASSIGN(ExprPtr left, and_expression());
  while (skip_name("or")) {
    CRIA_TRY_ASSIGN(ExprPtr right, and_expression());
    CRIA_TRY_ASSIGN(left, binary(Expr::Kind::kOr, "or", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::and_expression() {
  CRIA_TRY_ASSIGN(ExprPtr left, not_expression());
  while (skip_name("and")) {
    CRIA_TRY_ASSIGN(ExprPtr right, not_expression());
    CRIA_TRY_ASSIGN(left, binary(Expr::Kind::kAnd, "and", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::not_expression() {
  if (!is_name("not")) return comparison();
  const Nesting nesting(*this);
  CRIA_TRY(nesting.check());
  ExprPtr expr = make(Expr::Kind::kUnary);
  expr->text = take().text;
  CRIA_TRY_ASSIGN(ExprPtr operand, not_expression());
  expr->children.push_back(std::move(operand));
  return finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::comparison() {
  static constexpr std::string_view kOperators[] = {"==", "!=", ">=", "<=", ">", "<"};
  CRIA_TRY_ASSIGN(ExprPtr first, sum());
  ExprPtr expr = make(Expr::Kind::kCompare);
  expr->children.push_back(std::move(first));
  for (;;) {
    const bool is_known =
        is(Token::Kind::kOperator) && std::ranges::find(kOperators, peek().text) != std::end(kOperators);
    const bool is_not_in = is_name("not") && peek(1).kind == Token::Kind::kName && peek(1).text == "in";
    if (!is_known && !is_name("in") && !is_not_in) break;
    if (is_not_in) take();
    expr->operators.push_back(is_not_in ? "not in" : peek().text);
    take();
    CRIA_TRY_ASSIGN(ExprPtr next, sum());
    expr->children.push_back(std::move(next));
  }
  if (expr->operators.empty()) return std::move(expr->children.front());
  return finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::sum() {
  CRIA_TRY_ASSIGN(ExprPtr left, concatenation());
  while (is_operator("+") || is_operator("-")) {
    const std::string op = take().text;
    CRIA_TRY_ASSIGN(ExprPtr right, concatenation());
    CRIA_TRY_ASSIGN(left, binary(Expr::Kind::kBinary, op, std::move(left), std::move(right)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::concatenation() {
  CRIA_TRY_ASSIGN(ExprPtr left, product());
  while (skip_operator("~")) {
    CRIA_TRY_ASSIGN(ExprPtr right, product());
    CRIA_TRY_ASSIGN(left, binary(Expr::Kind::kConcat, "~", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::product() {
  CRIA_TRY_ASSIGN(ExprPtr left, power());
  while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
    const std::string op = take().text;
    CRIA_TRY_ASSIGN(ExprPtr right, power());
    CRIA_TRY_ASSIGN(left, binary(Expr::Kind::kBinary, op, std::move(left), std::move(right)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::power() {
  CRIA_TRY_ASSIGN(ExprPtr left, unary());
  while (skip_operator("**")) {
    CRIA_TRY_ASSIGN(ExprPtr right, unary());
    CRIA_TRY_ASSIGN(left, binary(Expr::Kind::kBinary, "**", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::unary(bool with_filter) {
  ExprPtr result;
  if (is_operator("-") || is_operator("+")) {
    const Nesting nesting(*this);
    CRIA_TRY(nesting.check());
    ExprPtr expr = make(Expr::Kind::kUnary);
    expr->text = take().text;
    CRIA_TRY_ASSIGN(ExprPtr operand, unary(/*with_filter=*/false));
    expr->children.push_back(std::move(operand));
    CRIA_TRY_ASSIGN(result, finish(std::move(expr)));
  } else {
    CRIA_TRY_ASSIGN(result, primary());
  }
  CRIA_TRY_ASSIGN(result, postfix(std::move(result)));
  return with_filter ? filters(std::move(result)) : Result<ExprPtr>(std::move(result));
}

Result<ExprPtr> ExpressionParser::primary() {
  if (is(Token::Kind::kOperator)) return bracketed();
  if (!is(Token::Kind::kName)) return constant();
  ExprPtr expr = make(Expr::Kind::kConstant);
  const std::string name = take().text;
  if (name == "true" || name == "True") {
    expr->value = Value::boolean(true);
  } else if (name == "false" || name == "False") {
    expr->value = Value::boolean(false);
  } else if (name != "none" && name != "None") {
    expr->kind = Expr::Kind::kName;
    expr->text = name;
  }
  return expr;
}

Result<ExprPtr> ExpressionParser::constant() {
  ExprPtr expr = make(Expr::Kind::kConstant);
  const std::string& text = peek().text;
  if (is(Token::Kind::kString)) {
    std::string joined;  // strings beside each other are one
    while (is(Token::Kind::kString)) joined += take().text;
    expr->value = Value::string(std::move(joined));
    return expr;
  }
  if (is(Token::Kind::kInteger)) {
    int64_t value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc()) return unexpected("a number of at most 64 bits");
    expr->value = Value::integer(value);
  } else if (is(Token::Kind::kFloat)) {
    double value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc()) return unexpected("a number in the range of a double");
    expr->value = Value::number(value);
  } else {
    return unexpected("a value");
  }
  take();
  return expr;
}

Result<ExprPtr> ExpressionParser::bracketed() {
  if (skip_operator("(")) {
    if (skip_operator(")")) return make(Expr::Kind::kTuple);
    CRIA_TRY_ASSIGN(ExprPtr inner, tuple(true));
    CRIA_TRY(expect_operator(")"));
    return inner;
  }
  if (is_operator("{")) return dictionary();
  if (!skip_operator("[")) return unexpected("a value");
  ExprPtr expr = make(Expr::Kind::kList);
  while (!skip_operator("]")) {
    CRIA_TRY_ASSIGN(ExprPtr item, expression());
    expr->children.push_back(std::move(item));
    if (!is_operator("]")) CRIA_TRY(expect_operator(","));
  }
  return finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::dictionary() {
  CRIA_TRY(expect_operator("{"));
  ExprPtr expr = make(Expr::Kind::kDict);
  while (!skip_operator("}")) {
    CRIA_TRY_ASSIGN(ExprPtr key, expression());
    CRIA_TRY(expect_operator(":"));
    CRIA_TRY_ASSIGN(ExprPtr value, expression());
    expr->children.push_back(std::move(key));
    expr->children.push_back(std::move(value));
    if (!is_operator("}")) CRIA_TRY(expect_operator(","));
  }
  return finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::postfix(ExprPtr base) {
  for (;;) {
    if (skip_operator(".")) {
      CRIA_TRY_ASSIGN(base, attribute(std::move(base)));
    } else if (skip_operator("[")) {
      CRIA_TRY_ASSIGN(base, subscript(std::move(base)));
    } else if (is_operator("(")) {
      CRIA_TRY_ASSIGN(base, call(std::move(base)));
    } else {
      return base;
    }
  }
}

Result<ExprPtr> ExpressionParser::attribute(ExprPtr base) {
  ExprPtr expr = make(Expr::Kind::kAttribute);
  if (is(Token::Kind::kInteger)) {
    expr->kind = Expr::Kind::kItem;
    expr->children.push_back(std::move(base));
    CRIA_TRY_ASSIGN(ExprPtr index, constant());
    expr->children.push_back(std::move(index));
    return finish(std::move(expr));
  }
  CRIA_TRY_ASSIGN(expr->text, take_name());
  expr->children.push_back(std::move(base));
  return finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::subscript(ExprPtr base) {
  ExprPtr parts[3];
  size_t colons = 0;
  while (!is_operator("]")) {
    if (skip_operator(":")) {
      if (++colons > 2) return unexpected("\"]\"");
    } else if (parts[colons] == nullptr) {
      CRIA_TRY_ASSIGN(parts[colons], expression());
    } else {
      return unexpected("\"]\"");
    }
  }
  if (colons == 0 && parts[0] == nullptr) return unexpected("an index");
  ExprPtr expr = make(colons == 0 ? Expr::Kind::kItem : Expr::Kind::kSlice);
  CRIA_TRY(expect_operator("]"));
  expr->children.push_back(std::move(base));
  for (ExprPtr& part : parts) {
    if (colons > 0 || part != nullptr) expr->children.push_back(std::move(part));
  }
  return finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::call(ExprPtr base) {
  ExprPtr expr = make(Expr::Kind::kCall);
  expr->children.push_back(std::move(base));
  CRIA_TRY_ASSIGN(expr->arguments, arguments());
  return finish(std::move(expr));
}

Result<std::vector<Argument>> ExpressionParser::arguments() {
  std::vector<Argument> list;
  CRIA_TRY(expect_operator("("));
  while (!skip_operator(")")) {
    if (is_operator("*") || is_operator("**")) {
      return fail(ErrorCode::kUnsupported, "line {}: arguments unpacked with \"*\" are not supported", peek().line);
    }
    Argument argument;
    const bool is_named = is(Token::Kind::kName) && peek(1).kind == Token::Kind::kOperator && peek(1).text == "=";
    if (is_named) {
      argument.name = take().text;
      take();
    } else if (!list.empty() && !list.back().name.empty()) {
      return unexpected("an argument with a name");
    }
    CRIA_TRY_ASSIGN(argument.value, expression());
    list.push_back(std::move(argument));
    if (!is_operator(")")) CRIA_TRY(expect_operator(","));
  }
  return list;
}

Result<std::string> ExpressionParser::dotted_name() {
  CRIA_TRY_ASSIGN(std::string name, take_name());
  while (skip_operator(".")) {
    CRIA_TRY_ASSIGN(const std::string part, take_name());
    name += "." + part;
  }
  return name;
}

Result<ExprPtr> ExpressionParser::filter(ExprPtr base) {
  ExprPtr expr = make(Expr::Kind::kFilter);
  CRIA_TRY_ASSIGN(expr->text, dotted_name());
  if (base) expr->children.push_back(std::move(base));
  if (is_operator("(")) {
    CRIA_TRY_ASSIGN(expr->arguments, arguments());
  }
  return finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::first_filter() {
  CRIA_TRY_ASSIGN(ExprPtr first, filter(nullptr));
  return filters(std::move(first));
}

Result<ExprPtr> ExpressionParser::filters(ExprPtr base) {
  for (;;) {
    if (skip_operator("|")) {
      CRIA_TRY_ASSIGN(base, filter(std::move(base)));
    } else if (skip_name("is")) {
      CRIA_TRY_ASSIGN(base, test(std::move(base)));
    } else if (is_operator("(") && base) {  // what a filter gave is called
      CRIA_TRY_ASSIGN(base, call(std::move(base)));
    } else {
      return base;
    }
  }
}

Result<ExprPtr> ExpressionParser::test(ExprPtr base) {
  const bool negated = skip_name("not");
  ExprPtr expr = make(Expr::Kind::kTest);
  CRIA_TRY_ASSIGN(expr->text, dotted_name());
  expr->children.push_back(std::move(base));
  const bool ends = is_name("else") || is_name("or") || is_name("and") || is_name("is");
  const bool begins_value = is(Token::Kind::kName) || is(Token::Kind::kString) || is(Token::Kind::kInteger) ||
                            is(Token::Kind::kFloat) || is_operator("[") || is_operator("{");
  if (is_operator("(")) {
    CRIA_TRY_ASSIGN(expr->arguments, arguments());
  } else if (begins_value && !ends) {
    CRIA_TRY_ASSIGN(ExprPtr operand, primary());
    CRIA_TRY_ASSIGN(operand, postfix(std::move(operand)));
    expr->arguments.push_back({"", std::move(operand)});
  }
  CRIA_TRY_ASSIGN(expr, finish(std::move(expr)));
  if (!negated) return expr;
  ExprPtr negation = make(Expr::Kind::kUnary);
  negation->text = "not";
  negation->children.push_back(std::move(expr));
  return finish(std::move(negation));
}

}  // namespace cria::text::jinja
