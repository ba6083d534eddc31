#include "text/jinja_parser.h"

#include <algorithm>

namespace cria::text::jinja {
namespace {

/// Blocks within blocks.
constexpr int kMaxBlocks = 60;

class Parser {
 public:
  explicit Parser(std::span<const Token> tokens) : in_(tokens) {}

  Result<Block> run() {
    CRIA_TRY_ASSIGN(Block block, body({}));
    if (!in_.is(Token::Kind::kEnd)) return in_.unexpected("the end of the template");
    return block;
  }

 private:
  /// Statements up to a block that begins with one of `ends`, whose name is left to be read; to the end of the
  /// template where there are no `ends`.
  Result<Block> body(std::initializer_list<std::string_view> ends) {
    if (++blocks_ > kMaxBlocks) {
      return fail(ErrorCode::kInvalidInput, "line {}: blocks are nested deeper than {} levels", in_.peek().line,
                  kMaxBlocks);
    }
    Block block;
    while (!in_.is(Token::Kind::kEnd)) {
      if (in_.is(Token::Kind::kBlockBegin)) {
        in_.take();
        if (std::ranges::any_of(ends, [&](std::string_view end) { return in_.is_name(end); })) {
          --blocks_;
          return block;
        }
        CRIA_TRY_ASSIGN(Statement statement, parse_statement());
        block.push_back(std::move(statement));
        continue;
      }
      Statement statement = make(in_.is(Token::Kind::kText) ? Statement::Kind::kText : Statement::Kind::kPrint);
      const Token token = in_.take();
      if (token.kind == Token::Kind::kText) {
        statement.text = token.text;
      } else {
        CRIA_TRY_ASSIGN(ExprPtr value, in_.tuple(true));
        statement.expressions.push_back(std::move(value));
        CRIA_TRY(in_.expect(Token::Kind::kPrintEnd, "\"}}\""));
      }
      block.push_back(std::move(statement));
    }
    --blocks_;
    if (ends.size() == 0) return block;
    return in_.unexpected(fmt::format("\"{{% {} %}}\"", *(ends.end() - 1)));
  }

  [[nodiscard]] Statement make(Statement::Kind kind) const {
    Statement statement;
    statement.kind = kind;
    statement.line = in_.peek().line;
    return statement;
  }

  Status end_block() { return in_.expect(Token::Kind::kBlockEnd, "\"%}\""); }
  /// The end of a block whose closing word comes next.
  Status close(std::string_view word) {
    CRIA_TRY(in_.expect_name(word));
    return end_block();
  }

  Result<Statement> parse_statement() {
    const uint32_t line = in_.peek().line;
    CRIA_TRY_ASSIGN(const std::string word, in_.take_name());
    if (word == "if") return parse_if();
    if (word == "for") return parse_for();
    if (word == "set") return parse_set();
    if (word == "macro") return parse_macro();
    if (word == "call") return parse_call();
    if (word == "filter") return parse_filter();
    if (word == "with") return parse_with();
    if (word == "generation") return parse_generation();
    if (word == "break" || word == "continue") return parse_loop_control(word);
    return fail(ErrorCode::kUnsupported, "line {}: the block \"{}\" is not supported", line, word.substr(0, 60));
  }

  Result<Statement> parse_if() {
    Statement statement = make(Statement::Kind::kIf);
    for (;;) {
      CRIA_TRY_ASSIGN(ExprPtr condition, in_.tuple(false));
      statement.expressions.push_back(std::move(condition));
      CRIA_TRY(end_block());
      CRIA_TRY_ASSIGN(Block block, body({"elif", "else", "endif"}));
      statement.blocks.push_back(std::move(block));
      if (!in_.skip_name("elif")) break;
    }
    if (in_.skip_name("else")) {
      CRIA_TRY(end_block());
      CRIA_TRY_ASSIGN(Block block, body({"endif"}));
      statement.blocks.push_back(std::move(block));
    }
    CRIA_TRY(close("endif"));
    return statement;
  }

  Result<Target> target() {
    Target target;
    CRIA_TRY_ASSIGN(std::string first, in_.take_name());
    target.names.push_back(std::move(first));
    if (in_.skip_operator(".")) {
      CRIA_TRY_ASSIGN(target.attribute, in_.take_name());
      return target;
    }
    while (in_.skip_operator(",")) {
      if (!in_.is(Token::Kind::kName)) break;
      target.names.push_back(in_.take().text);
    }
    return target;
  }

  Result<Target> loop_target() {
    const bool bracket = in_.skip_operator("(");
    CRIA_TRY_ASSIGN(Target names, target());
    if (bracket) CRIA_TRY(in_.expect_operator(")"));
    if (!names.attribute.empty()) return in_.unexpected("a name");
    return names;
  }

  Result<Statement> parse_for() {
    Statement statement = make(Statement::Kind::kFor);
    CRIA_TRY_ASSIGN(statement.target, loop_target());
    CRIA_TRY(in_.expect_name("in"));
    CRIA_TRY_ASSIGN(ExprPtr iterable, in_.tuple(false));
    statement.expressions.push_back(std::move(iterable));
    ExprPtr condition;
    if (in_.skip_name("if")) {
      CRIA_TRY_ASSIGN(condition, in_.expression());
    }
    statement.expressions.push_back(std::move(condition));
    statement.is_recursive = in_.skip_name("recursive");
    CRIA_TRY(end_block());
    ++loops_;
    CRIA_TRY_ASSIGN(Block block, body({"else", "endfor"}));
    --loops_;
    statement.blocks.push_back(std::move(block));
    if (in_.skip_name("else")) {
      CRIA_TRY(end_block());
      CRIA_TRY_ASSIGN(Block otherwise, body({"endfor"}));
      statement.blocks.push_back(std::move(otherwise));
    }
    CRIA_TRY(close("endfor"));
    return statement;
  }

  Result<Statement> parse_set() {
    Statement statement = make(Statement::Kind::kSet);
    CRIA_TRY_ASSIGN(statement.target, target());
    if (in_.skip_operator("=")) {
      CRIA_TRY_ASSIGN(ExprPtr value, in_.tuple(true));
      statement.expressions.push_back(std::move(value));
      CRIA_TRY(end_block());
      return statement;
    }
    statement.kind = Statement::Kind::kSetBlock;
    if (in_.is_operator("|")) {
      CRIA_TRY_ASSIGN(ExprPtr filters, in_.filters(nullptr));
      statement.expressions.push_back(std::move(filters));
    }
    CRIA_TRY(end_block());
    CRIA_TRY_ASSIGN(Block block, body({"endset"}));
    statement.blocks.push_back(std::move(block));
    CRIA_TRY(close("endset"));
    return statement;
  }

  Result<std::vector<Argument>> parameters() {
    std::vector<Argument> list;
    CRIA_TRY(in_.expect_operator("("));
    while (!in_.skip_operator(")")) {
      Argument parameter;
      CRIA_TRY_ASSIGN(parameter.name, in_.take_name());
      if (in_.skip_operator("=")) {
        CRIA_TRY_ASSIGN(parameter.value, in_.expression());
      }
      list.push_back(std::move(parameter));
      if (!in_.is_operator(")")) CRIA_TRY(in_.expect_operator(","));
    }
    return list;
  }

  /// A body in which no `break` of a loop around it may stand.
  Result<Block> closed_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    CRIA_TRY_ASSIGN(Block block, body({end}));
    loops_ = loops;
    CRIA_TRY(close(end));
    return block;
  }

  Result<Statement> parse_macro() {
    Statement statement = make(Statement::Kind::kMacro);
    CRIA_TRY_ASSIGN(statement.text, in_.take_name());
    CRIA_TRY_ASSIGN(statement.parameters, parameters());
    CRIA_TRY(end_block());
    CRIA_TRY_ASSIGN(Block block, closed_body("endmacro"));
    statement.blocks.push_back(std::move(block));
    return statement;
  }

  Result<Statement> parse_call() {
    Statement statement = make(Statement::Kind::kCall);
    if (in_.is_operator("(")) {
      CRIA_TRY_ASSIGN(statement.parameters, parameters());
    }
    CRIA_TRY_ASSIGN(ExprPtr called, in_.unary(/*with_filter=*/false));
    if (called->kind != Expr::Kind::kCall) return in_.unexpected("the call of a macro");
    statement.expressions.push_back(std::move(called));
    CRIA_TRY(end_block());
    CRIA_TRY_ASSIGN(Block block, closed_body("endcall"));
    statement.blocks.push_back(std::move(block));
    return statement;
  }

  Result<Statement> parse_filter() {
    Statement statement = make(Statement::Kind::kFilterBlock);
    CRIA_TRY_ASSIGN(ExprPtr filters, in_.first_filter());
    statement.expressions.push_back(std::move(filters));
    CRIA_TRY(end_block());
    CRIA_TRY_ASSIGN(Block block, closed_body("endfilter"));
    statement.blocks.push_back(std::move(block));
    return statement;
  }

  Result<Statement> parse_with() {
    Statement statement = make(Statement::Kind::kWith);
    while (!in_.is(Token::Kind::kBlockEnd)) {
      if (!statement.parameters.empty()) CRIA_TRY(in_.expect_operator(","));
      Argument assigned;
      CRIA_TRY_ASSIGN(assigned.name, in_.take_name());
      CRIA_TRY(in_.expect_operator("="));
      CRIA_TRY_ASSIGN(assigned.value, in_.expression());
      statement.parameters.push_back(std::move(assigned));
    }
    CRIA_TRY(end_block());
    CRIA_TRY_ASSIGN(Block block, body({"endwith"}));
    statement.blocks.push_back(std::move(block));
    CRIA_TRY(close("endwith"));
    return statement;
  }

  /// transformers' mark of what the assistant says: it changes nothing here.
  Result<Statement> parse_generation() {
    Statement statement = make(Statement::Kind::kBlock);
    CRIA_TRY(end_block());
    CRIA_TRY_ASSIGN(Block block, body({"endgeneration"}));
    statement.blocks.push_back(std::move(block));
    CRIA_TRY(close("endgeneration"));
    return statement;
  }

  Result<Statement> parse_loop_control(std::string_view word) {
    if (loops_ == 0) {
      return fail(ErrorCode::kInvalidInput, "line {}: \"{}\" stands outside of a loop", in_.peek().line, word);
    }
    Statement statement = make(word == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue);
    CRIA_TRY(end_block());
    return statement;
  }

  ExpressionParser in_;
  int blocks_ = 0;
  int loops_ = 0;
};

}  // namespace

Result<Block> parse(std::string_view source) {
  CRIA_TRY_ASSIGN(const std::vector<Token> tokens, tokenize(source));
  return Parser(tokens).run();
}

}  // namespace cria::text::jinja
