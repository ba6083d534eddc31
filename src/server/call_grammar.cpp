#include "server/call_grammar.h"

#include "grammar/json_rules.h"
#include "grammar/json_schema.h"
#include "server/structure.h"

namespace cria::server {
namespace {

constexpr uint32_t kMostCalls = 16;                // of one answer
constexpr std::string_view kCallId = "[CALL_ID]";  // which models of Mistral's may write, and is passed over
constexpr std::string_view kBlanks = R"( \n\r\t)";

/// A character in a class, and a text between quotes, as grammars have them.
std::string in_class(char c) {
  return std::string_view("[]-^\\").contains(c) ? fmt::format("\\{}", c) : fmt::format("{}", c);
}
std::string in_quotes(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' || c == '\\' ? fmt::format("\\{}", c) : fmt::format("{}", c);
  return result + "\"";
}

class Writer {
 public:
  Writer(const ToolUse& use, text::CallForm form, const SpecialMarkers& special)
      : use_(use), form_(form), syntax_(text::syntax_of(form)), special_(special) {}

  Result<std::string> write() {
    CRIA_TRY(calls());
    const bool is_forced = use_.choice == ToolChoice::kRequired;
    if (!is_forced) free_text();
    if (form_ == text::CallForm::kLlama3) {
      if (!is_forced) opening();
      rule("root", is_forced ? "after" : "open-0");
    } else {
      rule("root", is_forced ? marker(syntax_.begin) + " after" : "text-0");
    }
    return rules_ + grammar::shared_rules(rules_);
  }

 private:
  void rule(std::string_view name, std::string_view body) { rules_ += fmt::format("{} ::= {}\n", name, body); }

  [[nodiscard]] bool is_special(std::string_view text) const { return special_.contains(text); }
  [[nodiscard]] std::string marker(std::string_view text) const {
    const auto token = special_.find(text);
    return token == special_.end() ? in_quotes(text) : fmt::format("<[{}]>", token->second);
  }

  /// Alternatives for the tools: of each the name, and its arguments.
  Result<std::string> named() {
    std::string alternatives;
    for (size_t i = 0; i < use_.tools.size(); ++i) {
      const Tool& tool = use_.tools[i];
      if (!use_.function.empty() && tool.name != use_.function) continue;
      const std::string arguments = fmt::format("arguments-{}", i);
      const std::string where = fmt::format("the parameters of the tool \"{}\"", tool.name);
      CRIA_TRY_ASSIGN(const std::string part, grammar::schema_part(tool.parameters, where, arguments));
      rules_ += part;
      alternatives += alternatives.empty() ? "" : " | ";
      alternatives += syntax_.is_object
                          ? fmt::format("{} next {} colon {}", in_quotes(tool.name + "\""),
                                        in_quotes(fmt::format("\"{}\"", syntax_.arguments)), arguments)
                          : fmt::format("{} id {} {}", in_quotes(tool.name), marker(syntax_.arguments), arguments);
    }
    return alternatives;
  }

  /// "call" is one call, "named" what of it follows behind `{"name": "`, and "after" what follows the first marker.
  Status calls() {
    CRIA_TRY_ASSIGN(const std::string alternatives, named());
    // Fewer blanks than JSON may have, so that a model does not lose itself in them.
    rule("gap", R"("\n"? " "{0,4})");
    rule("next", "\",\" gap");
    if (syntax_.is_object) {
      const bool has_id = form_ == text::CallForm::kMistral;
      rule("id", has_id ? R"((next "\"id\"" colon "\"" [a-zA-Z0-9]{9} "\"")?)" : "\"\"");
      rule("named", fmt::format("({}) id gap \"}}\"", alternatives));
      rule("call", R"("{" gap "\"name\"" colon "\"" named)");
    } else {
      rule("id", fmt::format("({} [a-zA-Z0-9]{{9}})?", marker(kCallId)));
      rule("named", alternatives);
    }
    const bool is_one = !use_.is_parallel || !use_.function.empty() || !syntax_.may_repeat;
    rule("after", after_marker(is_one ? 0 : kMostCalls - 1));
    return {};
  }

  [[nodiscard]] std::string after_marker(uint32_t more) const {
    switch (form_) {
      case text::CallForm::kHermes: {
        const std::string rest = fmt::format("gap call gap {}", marker(syntax_.end));
        return fmt::format("{} (gap {} {}){{0,{}}}", rest, marker(syntax_.begin), rest, more);
      }
      case text::CallForm::kMistral: return fmt::format("\" \"? \"[\" gap call (next call){{0,{}}} gap \"]\"", more);
      case text::CallForm::kMistralArgs: return fmt::format("named ({} named){{0,{}}}", marker(syntax_.begin), more);
      case text::CallForm::kLlama3: break;
    }
    return "gap call";
  }

  /// Any text up to the marker: "text-i" is where i of its bytes have been read. Source: Knuth, Morris & Pratt 1977. A
  /// marker that is a special token stands anywhere, and is never spelled.
  void free_text() {
    const std::string_view begin = syntax_.begin;
    for (size_t read = 0; read < begin.size(); ++read) {
      std::string body = "\"\"";
      std::string others;
      for (size_t i = 0; i < begin.size(); ++i) {
        const char c = begin[i];
        const size_t next = matched(begin.substr(0, read), c);
        if (begin.find(c) < i || next == 0) continue;
        others += in_class(c);
        if (next < begin.size()) body += fmt::format(" | {} text-{}", in_quotes({&c, 1}), next);
        if (next == begin.size() && !is_special(begin)) body += fmt::format(" | {} after", in_quotes({&c, 1}));
      }
      body += fmt::format(" | [^{}] text-0", others);
      if (is_special(begin)) body += fmt::format(" | {} after", marker(begin));
      rule(fmt::format("text-{}", read), body);
    }
  }

  /// How many bytes of the marker a text ends with that ended with `read` of them, and goes on with c.
  [[nodiscard]] size_t matched(std::string_view read, char c) const {
    const std::string text = std::string(read) + c;
    for (size_t length = text.size(); length > 0; --length) {
      if (text.ends_with(syntax_.begin.substr(0, length))) return length;
    }
    return 0;
  }

  /// Without a marker an answer is a call where it begins with `{"name": "`; anything else goes over to free text.
  void opening() {
    constexpr std::string_view kOpening = "{\"name\":\"";
    for (size_t i = 0; i < kOpening.size(); ++i) {
      const char c = kOpening[i];
      const bool may_be_blank = i < 2 || i > 6;
      const std::string next = i + 1 < kOpening.size() ? fmt::format("open-{}", i + 1) : "named";
      const std::string blanks(may_be_blank ? kBlanks : "");
      std::string body = fmt::format("\"\" | {} {}", in_quotes({&c, 1}), next);
      if (may_be_blank) body += fmt::format(" | [{}] open-{}", blanks, i);
      const char first = syntax_.begin.front();
      body +=
          fmt::format(" | [^{}{}{}] text-0 | {} text-1", in_class(c), in_class(first), blanks, in_quotes({&first, 1}));
      if (is_special(syntax_.begin)) body += fmt::format(" | {} after", marker(syntax_.begin));
      rule(fmt::format("open-{}", i), body);
    }
  }

  const ToolUse& use_;
  text::CallForm form_;
  const text::CallSyntax& syntax_;
  const SpecialMarkers& special_;
  std::string rules_;
};

}  // namespace

SpecialMarkers special_markers(text::CallForm form, const text::Tokenizer& tokenizer) {
  SpecialMarkers special;
  const text::CallSyntax& syntax = text::syntax_of(form);
  for (const std::string_view marker : {syntax.begin, syntax.end, syntax.arguments, kCallId}) {
    const auto token = tokenizer.token_to_id(marker);
    if (token && tokenizer.is_special(*token)) special.emplace(marker, *token);
  }
  return special;
}

Checked<std::shared_ptr<const grammar::Grammar>> call_grammar(const ToolUse& use, text::CallForm form,
                                                              const SpecialMarkers& special) {
  std::string source = fmt::format("calls {} {} {} {}", static_cast<int>(form), static_cast<int>(use.choice),
                                   use.is_parallel, use.function);
  for (const auto& [marker, token] : special) source += fmt::format(" {} {}", marker, token);
  source += " " + use.definitions.dump();
  return known_grammar("tools", source, [&]() -> Result<grammar::Grammar> {
    CRIA_TRY_ASSIGN(const std::string rules, Writer(use, form, special).write());
    return grammar::Grammar::parse(rules, "the grammar of calls", grammar::kSchemaLimits);
  });
}

}  // namespace cria::server
