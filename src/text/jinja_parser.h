// Reads the expressions of a template from its tokens; jinja_parser.cpp goes on with statements.
#pragma once

#include <algorithm>
#include <span>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace cria::text::jinja {

/// Tokens, one after the other, and expressions made of them.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::span<const Token> tokens) : tokens_(tokens) {}

  [[nodiscard]] const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  [[nodiscard]] bool is(Token::Kind kind) const { return peek().kind == kind; }
  [[nodiscard]] bool is_name(std::string_view text) const { return is(Token::Kind::kName) && peek().text == text; }
  [[nodiscard]] bool is_operator(std::string_view text) const {
    return is(Token::Kind::kOperator) && peek().text == text;
  }
  Token take() { return at_ < tokens_.size() ? tokens_[at_++] : tokens_.back(); }
  bool skip_name(std::string_view text);
  bool skip_operator(std::string_view text);
  Status expect_operator(std::string_view text);
  Status expect_name(std::string_view text);
  Status expect(Token::Kind kind, std::string_view what);
  Result<std::string> take_name();
  /// An error at the token that comes next.
  [[nodiscard]] std::unexpected<Error> unexpected(std::string_view wanted) const;

  Result<ExprPtr> expression();
  /// One expression, or several with commas between them. `with_condition` false leaves an `if` behind it alone.
  Result<ExprPtr> tuple(bool with_condition);
  /// Everything behind a value that a chain of filters begins with.
  Result<ExprPtr> filters(ExprPtr base);
  /// The same, where the first filter has no "|" before it.
  Result<ExprPtr> first_filter();
  /// A postfix expression, as a call block wants it.
  Result<ExprPtr> unary(bool with_filter = true);

 private:
  class Nesting;
  /// Finishes an expression; errors where it is nested too deep.
  Result<ExprPtr> finish(ExprPtr expr) const;
  [[nodiscard]] ExprPtr make(Expr::Kind kind) const;
  Result<ExprPtr> binary(Expr::Kind kind, std::string_view op, ExprPtr left, ExprPtr right) const;
  Result<ExprPtr> conditional_free();
  Result<ExprPtr> and_expression();
  Result<ExprPtr> not_expression();
  Result<ExprPtr> comparison();
  Result<ExprPtr> sum();
  Result<ExprPtr> concatenation();
  Result<ExprPtr> product();
  Result<ExprPtr> power();
  Result<ExprPtr> primary();
  Result<ExprPtr> constant();
  Result<ExprPtr> bracketed();
  Result<ExprPtr> dictionary();
  Result<ExprPtr> postfix(ExprPtr base);
  Result<ExprPtr> attribute(ExprPtr base);
  Result<ExprPtr> subscript(ExprPtr base);
  Result<ExprPtr> call(ExprPtr base);
  Result<ExprPtr> filter(ExprPtr base);
  Result<ExprPtr> test(ExprPtr base);
  Result<std::vector<Argument>> arguments();
  Result<std::string> dotted_name();

  std::span<const Token> tokens_;  // the last one is kEnd
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace cria::text::jinja
