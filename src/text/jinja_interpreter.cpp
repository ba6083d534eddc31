#include "text/jinja_interpreter.h"

#include <algorithm>

namespace cria::text::jinja {
namespace {

/// Expressions, blocks and macros within each other while a template runs, so that the stack holds.
constexpr int kMaxRunDepth = 600;

}  // namespace

void Scope::set(const std::string& name, Value value) {
  const auto known = std::ranges::find(variables, name, [](const auto& variable) { return variable.first; });
  if (known != variables.end()) {
    known->second = std::move(value);
  } else {
    variables.emplace_back(name, std::move(value));
  }
}

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
    for (const auto& [known, value] : scope->variables) {
      if (known == name) return &value;
    }
  }
  return nullptr;
}

const Value* Arguments::find(size_t position, std::string_view name) const {
  if (position < positional.size()) return &positional[position];
  for (const auto& [known, value] : named) {
    if (known == name) return &value;
  }
  return nullptr;
}

Status Interpreter::Depth::check() const {
  if (depth_ <= kMaxRunDepth) return {};
  return fail(ErrorCode::kInvalidInput, "the chat template calls itself too often, or is nested too deep");
}

Result<std::string> Interpreter::run(const Block& block, const Entries& variables) {
  Scope root;
  for (const auto& [name, value] : variables) root.set(*name.as_string(), value);
  std::string out;
  CRIA_TRY(run_block(block, root, out));
  return out;
}

Result<Object*> Interpreter::make_object(Object::Kind kind) {
  CRIA_TRY(budget_.spend_bytes(sizeof(Object)));
  Object& object = objects_.emplace_back();
  object.kind = kind;
  return &object;
}

Result<Scope*> Interpreter::make_scope(Scope* parent) {
  CRIA_TRY(budget_.spend_bytes(sizeof(Scope) + 64));
  return &scopes_.emplace_back(Scope{.parent = parent, .variables = {}});
}

Status Interpreter::append(std::string& out, std::string_view text) {
  CRIA_TRY(budget_.spend_bytes(text.size()));
  if (out.size() + text.size() > max_output_) {
    return fail(ErrorCode::kInvalidInput, "the chat template writes more than {} bytes", with_commas(max_output_));
  }
  out += text;
  return {};
}

Result<Interpreter::Flow> Interpreter::run_block(const Block& block, Scope& scope, std::string& out) {
  const Depth depth(depth_);
  CRIA_TRY(depth.check());
  for (const Statement& statement : block) {
    CRIA_TRY(budget_.spend_steps(1));
    CRIA_TRY_ASSIGN(const Flow flow, run_statement(statement, scope, out));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::run_statement(const Statement& statement, Scope& scope, std::string& out) {
  using Kind = Statement::Kind;
  Flow flow = Flow::kNext;
  switch (statement.kind) {
    case Kind::kText: CRIA_TRY(append(out, statement.text)); break;
    case Kind::kPrint: {
      CRIA_TRY_ASSIGN(const Value value, eval(*statement.expressions[0], scope));
      CRIA_TRY_ASSIGN(const std::string text, to_text(budget_, value));
      CRIA_TRY(append(out, text));
      break;
    }
    case Kind::kIf: return run_if(statement, scope, out);
    case Kind::kFor: return run_for(statement, scope, out);
    case Kind::kSet: {
      CRIA_TRY_ASSIGN(const Value value, eval(*statement.expressions[0], scope));
      CRIA_TRY(set_target(statement.target, value, scope));
      break;
    }
    case Kind::kSetBlock: CRIA_TRY(run_set_block(statement, scope)); break;
    case Kind::kMacro: CRIA_TRY(define_macro(statement, scope)); break;
    case Kind::kCall: CRIA_TRY(run_call_block(statement, scope, out)); break;
    case Kind::kFilterBlock: CRIA_TRY(run_filter_block(statement, scope, out)); break;
    case Kind::kWith: CRIA_TRY(run_with(statement, scope, out, flow)); break;
    case Kind::kBlock: return run_block(statement.blocks[0], scope, out);
    case Kind::kBreak: return Flow::kBreak;
    case Kind::kContinue: return Flow::kContinue;
  }
  return flow;
}

Result<Interpreter::Flow> Interpreter::run_if(const Statement& statement, Scope& scope, std::string& out) {
  for (size_t i = 0; i < statement.expressions.size(); ++i) {
    CRIA_TRY_ASSIGN(const Value condition, eval(*statement.expressions[i], scope));
    if (condition.truth()) return run_block(statement.blocks[i], scope, out);
  }
  if (statement.blocks.size() > statement.expressions.size()) return run_block(statement.blocks.back(), scope, out);
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::run_for(const Statement& statement, Scope& scope, std::string& out) {
  CRIA_TRY_ASSIGN(const Value iterable, eval(*statement.expressions[0], scope));
  CRIA_TRY(run_loop(statement, scope, iterable, 0, out));
  return Flow::kNext;
}

Status Interpreter::run_loop(const Statement& statement, Scope& scope, const Value& iterable, int level,
                             std::string& out) {
  const Depth depth(depth_);
  CRIA_TRY(depth.check());
  CRIA_TRY_ASSIGN(std::vector<Value> items, items_of(budget_, iterable));
  if (const auto& condition = statement.expressions[1]) {
    std::vector<Value> kept;
    for (Value& item : items) {
      CRIA_TRY_ASSIGN(Scope * own, make_scope(&scope));
      CRIA_TRY(set_target(statement.target, item, *own));
      CRIA_TRY_ASSIGN(const Value wanted, eval(*condition, *own));
      if (wanted.truth()) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    if (statement.blocks.size() > 1) CRIA_TRY(run_block(statement.blocks[1], scope, out));
    return {};
  }
  CRIA_TRY_ASSIGN(Object * loop, make_object(Object::Kind::kLoop));
  loop->items = std::move(items);
  loop->statement = statement.is_recursive ? &statement : nullptr;
  loop->scope = &scope;
  loop->level = level;
  for (size_t i = 0; i < loop->items.size(); ++i) {
    loop->index = i;
    CRIA_TRY_ASSIGN(Scope * own, make_scope(&scope));
    CRIA_TRY(set_target(statement.target, loop->items[i], *own));
    own->set("loop", Value::object(*loop));
    CRIA_TRY_ASSIGN(const Flow flow, run_block(statement.blocks[0], *own, out));
    if (flow == Flow::kBreak) break;
  }
  return {};
}

Status Interpreter::set_target(const Target& target, const Value& value, Scope& scope) {
  CRIA_TRY(budget_.spend_bytes(sizeof(Value) * target.names.size()));
  if (!target.attribute.empty()) {
    const Value* base = scope.find(target.names[0]);
    Object* object = base == nullptr ? nullptr : base->as_object();
    if (object == nullptr || object->kind != Object::Kind::kNamespace) {
      return fail(ErrorCode::kInvalidInput, "the chat template sets \"{}.{}\", and \"{}\" is no namespace",
                  target.names[0], target.attribute, target.names[0]);
    }
    object->fields.set(target.attribute, value);
    return {};
  }
  if (target.names.size() == 1) {
    scope.set(target.names[0], value);
    return {};
  }
  CRIA_TRY_ASSIGN(const std::vector<Value> parts, items_of(budget_, value));
  if (parts.size() != target.names.size()) {
    return fail(ErrorCode::kInvalidInput, "the chat template unpacks {} values into {} names", parts.size(),
                target.names.size());
  }
  for (size_t i = 0; i < parts.size(); ++i) scope.set(target.names[i], parts[i]);
  return {};
}

Status Interpreter::run_set_block(const Statement& statement, Scope& scope) {
  CRIA_TRY_ASSIGN(Scope * own, make_scope(&scope));
  std::string text;
  CRIA_TRY(run_block(statement.blocks[0], *own, text));
  Value value = Value::string(std::move(text));
  if (!statement.expressions.empty()) {
    CRIA_TRY_ASSIGN(value, eval_filter(*statement.expressions[0], scope, &value));
  }
  return set_target(statement.target, value, scope);
}

Status Interpreter::define_macro(const Statement& statement, Scope& scope) {
  CRIA_TRY_ASSIGN(Object * macro, make_object(Object::Kind::kMacro));
  macro->name = statement.text;
  macro->statement = &statement;
  macro->scope = &scope;
  scope.set(statement.text, Value::object(*macro));
  return {};
}

Status Interpreter::run_call_block(const Statement& statement, Scope& scope, std::string& out) {
  CRIA_TRY_ASSIGN(Object * caller, make_object(Object::Kind::kMacro));
  caller->name = "caller";
  caller->statement = &statement;
  caller->scope = &scope;
  const Expr& called = *statement.expressions[0];
  CRIA_TRY_ASSIGN(const Value callee, eval(*called.children[0], scope));
  CRIA_TRY_ASSIGN(Arguments arguments, eval_arguments(called.arguments, scope));
  arguments.named.emplace_back("caller", Value::object(*caller));
  CRIA_TRY_ASSIGN(const Value value, call(callee, arguments));
  CRIA_TRY_ASSIGN(const std::string text, to_text(budget_, value));
  return append(out, text);
}

Status Interpreter::run_filter_block(const Statement& statement, Scope& scope, std::string& out) {
  CRIA_TRY_ASSIGN(Scope * own, make_scope(&scope));
  std::string text;
  CRIA_TRY(run_block(statement.blocks[0], *own, text));
  const Value base = Value::string(std::move(text));
  CRIA_TRY_ASSIGN(const Value value, eval_filter(*statement.expressions[0], scope, &base));
  CRIA_TRY_ASSIGN(const std::string filtered, to_text(budget_, value));
  return append(out, filtered);
}

Status Interpreter::run_with(const Statement& statement, Scope& scope, std::string& out, Flow& flow) {
  CRIA_TRY_ASSIGN(Scope * own, make_scope(&scope));
  for (const Argument& assigned : statement.parameters) {
    CRIA_TRY_ASSIGN(Value value, eval(*assigned.value, scope));
    own->set(assigned.name, std::move(value));
  }
  CRIA_TRY_ASSIGN(flow, run_block(statement.blocks[0], *own, out));
  return {};
}

Result<Value> Interpreter::call(const Value& callee, const Arguments& arguments) {
  const Depth depth(depth_);
  CRIA_TRY(depth.check());
  if (callee.is_undefined()) return fail(ErrorCode::kInvalidInput, "{}", callee.undefined_reason());
  Object* object = callee.as_object();
  if (object != nullptr) {
    switch (object->kind) {
      case Object::Kind::kMacro: return call_macro(*object, arguments);
      case Object::Kind::kFunction: return call_function(*this, object->name, arguments);
      case Object::Kind::kLoop: return call_loop(*object, arguments);
      case Object::Kind::kJoiner: {
        const bool is_first = std::exchange(object->index, 1) == 0;
        return is_first ? Value::string("") : *object->fields.find("sep");
      }
      default: break;
    }
  }
  return fail(ErrorCode::kInvalidInput, "the chat template calls a value of kind {}", callee.kind());
}

Result<Value> Interpreter::call_loop(Object& loop, const Arguments& arguments) {
  if (loop.statement == nullptr || arguments.positional.size() != 1) {
    return fail(ErrorCode::kInvalidInput, "the chat template calls a loop that is not recursive");
  }
  std::string out;
  CRIA_TRY(run_loop(*loop.statement, *loop.scope, arguments.positional[0], loop.level + 1, out));
  return Value::string(std::move(out));
}

Result<Value> Interpreter::call_macro(Object& macro, const Arguments& arguments) {
  const std::vector<Argument>& parameters = macro.statement->parameters;
  CRIA_TRY_ASSIGN(Scope * own, make_scope(macro.scope));
  if (arguments.positional.size() > parameters.size()) {
    return fail(ErrorCode::kInvalidInput, "the chat template gives {} arguments to the macro \"{}\", which takes {}",
                arguments.positional.size(), macro.name, parameters.size());
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Value* given = arguments.find(i, parameters[i].name);
    Value value = Value::undefined(fmt::format("the parameter \"{}\" was not given", parameters[i].name));
    if (given != nullptr) {
      value = *given;
    } else if (parameters[i].value != nullptr) {
      CRIA_TRY_ASSIGN(value, eval(*parameters[i].value, *own));
    }
    own->set(parameters[i].name, std::move(value));
  }
  for (const auto& [name, value] : arguments.named) {
    const bool known =
        std::ranges::any_of(parameters, [&](const Argument& parameter) { return parameter.name == name; });
    if (!known && name != "caller") {
      return fail(ErrorCode::kInvalidInput, "the macro \"{}\" has no parameter \"{}\"", macro.name, name);
    }
    if (name == "caller") own->set(name, value);
  }
  std::string out;
  CRIA_TRY(run_block(macro.statement->blocks[0], *own, out));
  return Value::string(std::move(out));
}

Result<Value> Interpreter::loop_attribute(const Object& loop, const std::string& name) {
  const auto count = std::ssize(loop.items);
  const auto index = static_cast<int64_t>(loop.index);
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "revindex") return Value::integer(count - index);
  if (name == "revindex0") return Value::integer(count - index - 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index == count - 1);
  if (name == "length") return Value::integer(count);
  if (name == "depth") return Value::integer(loop.level + 1);
  if (name == "depth0") return Value::integer(loop.level);
  if (name == "previtem" && index > 0) return loop.items[loop.index - 1];
  if (name == "nextitem" && index < count - 1) return loop.items[loop.index + 1];
  return Value::undefined(fmt::format("the loop has no attribute \"{}\" here", name));
}

}  // namespace cria::text::jinja
