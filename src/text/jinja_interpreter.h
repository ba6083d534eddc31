// Runs a parsed template.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "text/jinja_ast.h"

namespace cria::text::jinja {

/// Names and values of a part of a template; what is not here is looked for in the parent.
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string, Value>> variables;

  void set(const std::string& name, Value value);
  [[nodiscard]] const Value* find(std::string_view name) const;  ///< here or in a parent; nullptr where nowhere
};

/// The arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The argument at a position or of a name; nullptr where it was not given.
  [[nodiscard]] const Value* find(size_t position, std::string_view name) const;
};

/// What is no plain value: it has an identity, and a namespace can change.
struct Object {
  enum class Kind : uint8_t { kNamespace, kLoop, kMacro, kFunction, kJoiner };
  Kind kind = Kind::kNamespace;
  std::string name;                      ///< of a macro or function
  Scope fields;                          ///< attributes of a namespace; "sep" of a joiner
  const Statement* statement = nullptr;  ///< a macro, call block or loop
  Scope* scope = nullptr;                ///< where a macro or loop was defined
  std::vector<Value> items;              ///< of a loop
  size_t index = 0;                      ///< of the present item
  int level = 0;                         ///< of a recursive loop, from 0
  Value last_changed;                    ///< what loop.changed() was asked last
};

class Interpreter {
 public:
  explicit Interpreter(Budget& budget, size_t max_output) : budget_(budget), max_output_(max_output) {}

  /// Renders a template with these variables. Errors: kInvalidInput, where the template itself raises an exception
  /// with its words.
  Result<std::string> run(const Block& block, const Entries& variables);

  [[nodiscard]] Budget& budget() { return budget_; }
  Result<Object*> make_object(Object::Kind kind);
  /// object.name, by Jinja's rules.
  Result<Value> attribute(const Value& base, const std::string& name);
  Result<Value> call(const Value& callee, const Arguments& arguments);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  /// A level of expressions, blocks or calls, while it is being worked on.
  class Depth {
   public:
    explicit Depth(int& depth) : depth_(depth) { ++depth_; }
    ~Depth() { --depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    [[nodiscard]] Status check() const;

   private:
    int& depth_;
  };

  Result<Flow> run_block(const Block& block, Scope& scope, std::string& out);
  Result<Flow> run_statement(const Statement& statement, Scope& scope, std::string& out);
  Result<Flow> run_if(const Statement& statement, Scope& scope, std::string& out);
  Result<Flow> run_for(const Statement& statement, Scope& scope, std::string& out);
  Status run_loop(const Statement& statement, Scope& scope, const Value& iterable, int level, std::string& out);
  Status set_target(const Target& target, const Value& value, Scope& scope);
  Status run_set_block(const Statement& statement, Scope& scope);
  Status run_call_block(const Statement& statement, Scope& scope, std::string& out);
  Status run_filter_block(const Statement& statement, Scope& scope, std::string& out);
  Status run_with(const Statement& statement, Scope& scope, std::string& out, Flow& flow);
  Status define_macro(const Statement& statement, Scope& scope);
  Status append(std::string& out, std::string_view text);

  Result<Value> eval(const Expr& expr, Scope& scope);
  Result<Value> eval_kind(const Expr& expr, Scope& scope);
  Result<Value> eval_name(const Expr& expr, Scope& scope);
  Result<Value> eval_items(const Expr& expr, Scope& scope);
  Result<Value> eval_dict(const Expr& expr, Scope& scope);
  Result<Value> eval_item(const Expr& expr, Scope& scope);
  Result<Value> eval_slice(const Expr& expr, Scope& scope);
  Result<Value> eval_call(const Expr& expr, Scope& scope);
  Result<Value> eval_filter(const Expr& expr, Scope& scope, const Value* base);
  Result<Value> eval_test(const Expr& expr, Scope& scope);
  Result<Value> eval_unary(const Expr& expr, Scope& scope);
  Result<Value> eval_logic(const Expr& expr, Scope& scope);
  Result<Value> eval_compare(const Expr& expr, Scope& scope);
  Result<Value> eval_concat(const Expr& expr, Scope& scope);
  Result<Value> eval_conditional(const Expr& expr, Scope& scope);
  Result<Value> item(const Value& base, const Value& index);
  Result<Arguments> eval_arguments(const std::vector<Argument>& list, Scope& scope);
  Result<Value> call_macro(Object& macro, const Arguments& arguments);
  Result<Value> call_loop(Object& loop, const Arguments& arguments);
  Result<Value> loop_attribute(const Object& loop, const std::string& name);
  Result<Scope*> make_scope(Scope* parent);

  Budget& budget_;
  size_t max_output_;
  int depth_ = 0;
  std::deque<Scope> scopes_;    // kept to the end, as macros refer to them
  std::deque<Object> objects_;  // kept to the end, as values refer to them
};

/// left op right, for + - * / // % **. Errors: kInvalidInput for kinds that have no such operation, a division by 0,
/// and whole numbers beyond 64 bits.
Result<Value> arithmetic(Budget& budget, const std::string& op, const Value& left, const Value& right);

/// value | name(arguments). Errors: kUnsupported for a filter that is not known; kInvalidInput.
Result<Value> apply_filter(Interpreter& interpreter, const std::string& name, const Value& value,
                           const Arguments& arguments);
/// value is name(arguments). Errors as above.
Result<bool> apply_test(Interpreter& interpreter, const std::string& name, const Value& value,
                        const Arguments& arguments);

/// Whether values of this kind have a method of that name.
[[nodiscard]] bool has_method(const Value& self, std::string_view name);
/// self.name(arguments), for a method that has_method knows.
Result<Value> call_method(Interpreter& interpreter, const Value& self, const std::string& name,
                          const Arguments& arguments);

/// Whether there is a function of that name for every template.
[[nodiscard]] bool has_function(std::string_view name);
Result<Value> call_function(Interpreter& interpreter, const std::string& name, const Arguments& arguments);

}  // namespace cria::text::jinja
