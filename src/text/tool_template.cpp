#include "text/tool_template.h"

#include <algorithm>
#include <optional>

#include "text/jinja_value.h"

namespace cria::text {
namespace {

/// The form that a template speaks of; nothing where it is none that is known.
std::optional<CallForm> form_in(std::string_view source) {
  if (source.contains("[TOOL_CALLS]")) {
    return source.contains("[ARGS]") ? CallForm::kMistralArgs : CallForm::kMistral;
  }
  if (source.contains("<tool_call>")) {
    return source.contains("<function=") ? std::nullopt : std::optional(CallForm::kHermes);
  }
  if (source.contains("<|start_header_id|>ipython")) return CallForm::kLlama3;
  return std::nullopt;
}

/// JSON in one line with blanks in it, as templates write it.
std::string in_line(const OrderedJson& json) {
  jinja::Budget budget(UINT64_MAX, UINT64_MAX);
  return jinja::to_json(budget, jinja::Value::from_json(json), -1, false).value_or(json.dump());
}

/// One call: {"name": …, "arguments": …}
std::string written_call(const ToolCall& call, std::string_view arguments) {
  return fmt::format(R"({{"name": {}, "{}": {}}})", in_line(call.name), arguments, in_line(call.arguments));
}

/// What Hermes' own template says of tools.
std::string told(const OrderedJson& tools) {
  std::string text =
      "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
      "You are provided with function signatures within <tools></tools> XML tags:\n<tools>";
  for (const OrderedJson& tool : tools) text += "\n" + in_line(tool);
  return text +
         "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
         "<tool_call></tool_call> XML tags:\n<tool_call>\n"
         "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>";
}

}  // namespace

const CallSyntax& syntax_of(CallForm form) {
  static constexpr CallSyntax kHermes{.begin = "<tool_call>", .end = "</tool_call>", .arguments = "arguments"};
  static constexpr CallSyntax kLlama3{
      .begin = "<|python_tag|>", .end = "", .arguments = "parameters", .may_repeat = false};
  static constexpr CallSyntax kMistral{.begin = "[TOOL_CALLS]", .end = "", .arguments = "arguments", .is_list = true};
  static constexpr CallSyntax kMistralArgs{
      .begin = "[TOOL_CALLS]", .end = "", .arguments = "[ARGS]", .is_object = false};
  switch (form) {
    case CallForm::kLlama3: return kLlama3;
    case CallForm::kMistral: return kMistral;
    case CallForm::kMistralArgs: return kMistralArgs;
    case CallForm::kHermes: break;
  }
  return kHermes;
}

std::string written_calls(CallForm form, std::span<const ToolCall> calls) {
  const CallSyntax& syntax = syntax_of(form);
  std::string text(syntax.is_list ? syntax.begin : "");
  if (syntax.is_list) text += "[";
  for (size_t i = 0; i < calls.size(); ++i) {
    if (!syntax.is_object) {
      text += fmt::format("{}{}{}{}", syntax.begin, calls[i].name, syntax.arguments, in_line(calls[i].arguments));
      continue;
    }
    const std::string call = written_call(calls[i], syntax.arguments);
    if (form == CallForm::kHermes) {
      text += fmt::format("{}{}\n{}\n{}", i > 0 ? "\n" : "", syntax.begin, call, syntax.end);
    } else {
      text += (i > 0 ? ", " : "") + call;
    }
  }
  return text + (syntax.is_list ? "]" : "");
}

ToolTemplate::ToolTemplate(ChatTemplate chat) : chat_(std::move(chat)) { probe(); }

bool ToolTemplate::shows(std::span<const ChatMessage> messages, const ToolContext& context,
                         std::string_view text) const {
  const auto rendered = chat_.render(messages, /*add_generation_prompt=*/true, {}, context);
  return rendered && rendered->contains(text);
}

void ToolTemplate::probe() {
  const ChatMessage user = {"user", "Hello"};
  takes_system_ = shows(std::vector<ChatMessage>{{"system", "probe_system"}, user}, {}, "probe_system");
  const auto form = form_in(chat_.source());
  if (!form) return;  // calls in a form that is not known: the template is told nothing of tools
  form_ = *form;
  const OrderedJson tools = OrderedJson::array({{{"type", "function"},
                                                 {"function",
                                                  {{"name", "probe_function"},
                                                   {"description", "A probe"},
                                                   {"parameters",
                                                    {{"type", "object"},
                                                     {"properties", {{"probe_argument", {{"type", "string"}}}}},
                                                     {"required", {"probe_argument"}}}}}}}});
  lists_tools_ = shows(std::vector<ChatMessage>{user}, {.tools = &tools}, "probe_function");
  if (!lists_tools_) form_ = CallForm::kHermes;
  ChatMessage call = {"assistant", ""};
  call.calls.push_back({.id = "probe0001", .name = "probe_function", .arguments = {{"probe_argument", "probe_value"}}});
  ChatMessage result = {"tool", "probe_result"};
  result.call_id = "probe0001";
  result.name = "probe_function";
  const std::vector<ChatMessage> messages = {user, call, result};
  for (const bool is_none : {false, true}) {
    for (const bool is_text : {false, true}) {
      const ToolContext context{.arguments_are_text = is_text, .no_content_is_none = is_none};
      const bool takes = lists_tools_ && shows(messages, context, "probe_result") &&
                         (shows(messages, context, R"("probe_argument": "probe_value")") ||
                          shows(messages, context, R"("probe_argument":"probe_value")"));
      if (!takes) continue;
      takes_calls_ = true;
      context_ = context;
      return;
    }
  }
}

/// Adds the tools to the system prompt, or where there is no place for one to the first message.
void ToolTemplate::tell_of_tools(std::vector<ChatMessage>& messages, const OrderedJson& tools) const {
  const auto takes = [&](const ChatMessage& message) { return message.role == (takes_system_ ? "system" : "user"); };
  const std::string text = told(tools);
  const auto place = std::ranges::find_if(messages, takes);
  if (place == messages.end() || (takes_system_ && place != messages.begin())) {
    messages.insert(messages.begin(), {takes_system_ ? "system" : "user", text});
  } else {
    place->content = takes_system_ ? place->content + "\n\n" + text : text + "\n\n" + place->content;
  }
}

/// Calls become the assistant's text, and results a user's.
std::vector<ChatMessage> ToolTemplate::without_calls(std::span<const ChatMessage> messages) const {
  std::vector<ChatMessage> plain;
  bool was_result = false;
  for (const ChatMessage& message : messages) {
    const bool is_result = message.role == "tool";
    if (is_result) {
      const std::string text = fmt::format("<tool_response>\n{}\n</tool_response>", message.content);
      if (was_result) {
        plain.back().content += "\n" + text;
      } else {
        plain.push_back({"user", text});
      }
    } else {
      ChatMessage& copy = plain.emplace_back(message.role, message.content);
      if (!message.calls.empty()) {
        copy.content += (copy.content.empty() ? "" : "\n") + written_calls(form_, message.calls);
      }
    }
    was_result = is_result;
  }
  return plain;
}

Result<std::string> ToolTemplate::render(std::span<const ChatMessage> messages, const OrderedJson& tools) const {
  ToolContext context = context_;
  if (!tools.empty() && lists_tools_) context.tools = &tools;
  std::vector<ChatMessage> copies(messages.begin(), messages.end());
  if (!takes_calls_) copies = without_calls(messages);
  if (!tools.empty() && !lists_tools_) tell_of_tools(copies, tools);
  return chat_.render(copies, /*add_generation_prompt=*/true, {}, context);
}

}  // namespace cria::text
