// The parts of a parsed template: expressions and statements. Their depth is bounded when they are made.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/jinja_value.h"

namespace cria::text::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

/// An argument of a call; `name` is empty for a positional one.
struct Argument {
  std::string name;
  ExprPtr value;
};

struct Expr {
  enum class Kind : uint8_t {
    kConstant,   ///< value
    kName,       ///< text
    kList,       ///< children
    kTuple,      ///< children
    kDict,       ///< children: key, value, key, value, …
    kAttribute,  ///< children[0].text
    kItem,       ///< children[0][children[1]]
    kSlice,      ///< children[0][children[1] : children[2] : children[3]], of which some are null
    kCall,       ///< children[0](arguments)
    kFilter,     ///< children[0] | text(arguments); in a filter block children is empty
    kTest,       ///< children[0] is text(arguments)
    kUnary,      ///< text children[0], where text is "-", "+" or "not"
    kAnd,        ///< children[0] and children[1]
    kOr,
    kCompare,     ///< children[0] operators[0] children[1] operators[1] …
    kBinary,      ///< children[0] text children[1]
    kConcat,      ///< children[0] ~ children[1]
    kConditional  ///< children[0] if children[1] else children[2], which may be null
  };
  Kind kind = Kind::kConstant;
  uint32_t line = 0;
  uint32_t depth = 1;  ///< levels of expressions in it
  std::string text;
  Value value;
  std::vector<ExprPtr> children;
  std::vector<Argument> arguments;
  std::vector<std::string> operators;
};

struct Statement;
using Block = std::vector<Statement>;

/// The target of a `set` or `for`: names, or one attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  std::string attribute;
};

struct Statement {
  enum class Kind : uint8_t {
    kText,         ///< text
    kPrint,        ///< expressions[0]
    kIf,           ///< expressions[i]: blocks[i]; one block more is the else
    kFor,          ///< target in expressions[0] if expressions[1] (may be null): blocks[0], else blocks[1]
    kSet,          ///< target = expressions[0]
    kSetBlock,     ///< target = blocks[0], filtered by expressions[0] where there is one
    kMacro,        ///< text(parameters): blocks[0]
    kCall,         ///< expressions[0] is the call, blocks[0] the caller's body, with parameters
    kFilterBlock,  ///< expressions[0] is a chain of filters, applied to blocks[0]
    kWith,         ///< parameters are the names and values of blocks[0]
    kBlock,        ///< blocks[0] as it is
    kBreak,
    kContinue
  };
  Kind kind = Kind::kText;
  uint32_t line = 0;
  bool is_recursive = false;
  std::string text;
  Target target;
  std::vector<ExprPtr> expressions;
  std::vector<Block> blocks;
  std::vector<Argument> parameters;  ///< a macro's: value is the default, or null
};

/// Parses a template. Errors (kInvalidInput, kUnsupported) name the line.
Result<Block> parse(std::string_view source);

}  // namespace cria::text::jinja
