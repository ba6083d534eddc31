// Chat templates that know tools, in part or not at all: each conversation reaches the model.
#include "text/tool_template.h"

#include <gtest/gtest.h>

namespace cria::text {
namespace {

// Templates in the manner of those published with Qwen 2.5, Llama 3.1 and Mistral 7B v0.3, without what is not about
// tools.
constexpr const char* kQwen = R"jinja({%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- "# Tools\n\n<tools>" }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\n</tools>\n\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args>}\n</tool_call><|im_end|>\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}{{- '\n' + message.content }}{%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\n<tool_call>\n{"name": "' + tool_call.name + '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}{{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' }}{{- message.content }}{{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %})jinja";

constexpr const char* kLlama = R"jinja({%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" + system_message + "<|eot_id|>" }}
{%- if not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}
    {%- else %}{{- raise_exception("There is no first user message!") }}{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\nRespond in the format {"name": function name, "parameters": {}}.' }}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\n\n" }}{%- endfor %}
    {{- first_user_message + "<|eot_id|>" }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}{{- "}<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}
        {%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %})jinja";

constexpr const char* kMistral =
    R"jinja({%- set user_messages = messages | selectattr("role", "equalto", "user") | list %}
{%- for message in messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}{{- tool | tojson }}{%- if not loop.last %}{{- ", " }}{%- endif %}{%- endfor %}
            {{- "][/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {{- "[INST] " + message["content"] + "[/INST]" }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}{{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}{%- if not loop.last %}{{- ", " }}{%- endif %}
        {%- endfor %}
        {{- "]</s>" }}
    {%- elif message["role"] == "assistant" %}{{- " " + message["content"] + "</s>" }}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content|string + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %})jinja";

OrderedJson tools() {
  return parse_ordered_json(R"([{"type": "function", "function": {"name": "add", "parameters": {"type": "object",
    "properties": {"b": {"type": "number"}, "a": {"type": "number"}}}}}])",
                            "tools")
      .value();
}

std::vector<ChatMessage> conversation() {
  ChatMessage call = {"assistant", ""};
  call.calls.push_back({.id = "abcdefgh1", .name = "add", .arguments = {{"b", 1}, {"a", "é\""}}});
  ChatMessage result = {"tool", "forty"};
  result.call_id = "abcdefgh1";
  result.name = "add";
  return {{"user", "What is it?"}, call, result};
}

ToolTemplate tool_template(std::string_view source) {
  return ToolTemplate(ChatTemplate::parse(source, {}, "t").value());
}

std::string rendered(const ToolTemplate& chat, const std::vector<ChatMessage>& messages, const OrderedJson& tools) {
  auto text = chat.render(messages, tools);
  if (!text) ADD_FAILURE() << text.error().message();
  return text ? *text : "";
}

TEST(ToolTemplate, TellsOfToolsAsTheTemplateDoes) {
  for (const auto& [source, form] : {std::pair(kQwen, CallForm::kHermes), std::pair(kLlama, CallForm::kLlama3),
                                     std::pair(kMistral, CallForm::kMistral)}) {
    const ToolTemplate chat = tool_template(source);
    EXPECT_EQ(chat.form(), form);
    EXPECT_TRUE(chat.lists_tools());
    EXPECT_TRUE(chat.takes_calls());
    const std::string text = rendered(chat, conversation(), tools());
    EXPECT_TRUE(text.contains("\"name\": \"add\"")) << text;
    EXPECT_LT(text.find("\"b\": {"), text.find("\"a\": {")) << "properties have lost their order:\n" << text;
    EXPECT_TRUE(text.contains(R"({"b": 1, "a": "é\""})")) << text;
    EXPECT_TRUE(text.contains("forty")) << text;
    EXPECT_EQ(rendered(chat, {{"user", "What is it?"}}, {}).find("\"add\""), std::string::npos);
  }
}

TEST(ToolTemplate, WhatTheTemplateRefusesIsAnErrorInItsWords) {
  std::vector<ChatMessage> messages = conversation();
  messages[1].calls.push_back(messages[1].calls[0]);
  auto twice = tool_template(kLlama).render(messages, tools());
  ASSERT_FALSE(twice);
  EXPECT_TRUE(twice.error().message().contains("only supports single tool-calls")) << twice.error().message();
  messages[1].calls[0].id = "long_identifier";
  auto long_id = tool_template(kMistral).render(messages, tools());
  ASSERT_FALSE(long_id);
  EXPECT_TRUE(long_id.error().message().contains("with length 9")) << long_id.error().message();
}

TEST(ToolTemplate, WithoutToolsInTheTemplateTheMessagesTellOfThem) {
  const ToolTemplate chat = tool_template(*ChatTemplate::builtin("chatml"));
  EXPECT_EQ(chat.form(), CallForm::kHermes);
  EXPECT_FALSE(chat.lists_tools());
  EXPECT_FALSE(chat.takes_calls());
  std::vector<ChatMessage> messages = conversation();
  messages.insert(messages.begin(), {"system", "Be short."});
  messages.push_back({messages.back()});
  messages.back().content = "two";
  const std::string text = rendered(chat, messages, tools());
  EXPECT_TRUE(text.starts_with("<|im_start|>system\nBe short.\n\n# Tools\n\n")) << text;
  EXPECT_TRUE(text.contains("<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"add\",")) << text;
  EXPECT_TRUE(
      text.ends_with("<|im_start|>assistant\n<tool_call>\n{\"name\": \"add\", \"arguments\": "
                     "{\"b\": 1, \"a\": \"é\\\"\"}}\n</tool_call><|im_end|>\n"
                     "<|im_start|>user\n<tool_response>\nforty\n</tool_response>\n<tool_response>\ntwo\n"
                     "</tool_response><|im_end|>\n<|im_start|>assistant\n"))
      << text;
  const std::string alone = rendered(chat, {{"user", "Hi"}}, tools());
  EXPECT_TRUE(alone.starts_with("<|im_start|>system\n# Tools")) << alone;
  EXPECT_EQ(rendered(chat, {{"user", "Hi"}}, {}), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ToolTemplate, WhereThereIsNoPlaceForASystemPromptTheFirstMessageTells) {
  const ToolTemplate chat = tool_template(
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
      "[{{ m.role }}:{{ m.content }}]{% endfor %}");
  const std::string text = rendered(chat, conversation(), tools());
  EXPECT_TRUE(text.starts_with("[user:# Tools\n")) << text;
  EXPECT_TRUE(text.contains("\n\nWhat is it?][assistant:<tool_call>")) << text;
}

TEST(ToolTemplate, TakesArgumentsAndMissingContentAsTheTemplateWantsThem) {
  const std::string list = "<tool_call>{% if tools %}{{ tools|tojson }}{% endif %}{% for m in messages %}";
  const ToolTemplate texts = tool_template(
      list +
      "{% if m.tool_calls %}{{ m.tool_calls[0].function.name + m.tool_calls[0].function.arguments }}{% else %}"
      "{{ m.content }}{% endif %}{% endfor %}");
  EXPECT_TRUE(texts.takes_calls());
  EXPECT_TRUE(rendered(texts, conversation(), tools()).contains(R"(add{"b":1,"a":"é\""})"));
  const ToolTemplate none = tool_template(
      list +
      "{% if m.content is none %}{{ m.tool_calls[0].function|tojson }}{% else %}{{ m.content }}{% endif %}"
      "{% endfor %}");
  EXPECT_TRUE(none.takes_calls());
  EXPECT_TRUE(rendered(none, conversation(), tools()).contains(R"("arguments": {"b": 1)"));
}

TEST(ToolTemplate, NewerTemplatesOfMistralNameTheFunctionBeforeTheArguments) {
  const ToolTemplate chat = tool_template(
      "{% for m in messages %}{% if m.role == 'user' %}{% if tools %}{{ tools|tojson }}{% endif %}{% endif %}"
      "{% if m.tool_calls %}{% for c in m.tool_calls %}{{ '[TOOL_CALLS]' + c.function.name + '[ARGS]' + "
      "(c.function.arguments if c.function.arguments is string else c.function.arguments|tojson) }}{% endfor %}"
      "{% else %}{{ m.content }}{% endif %}{% endfor %}");
  EXPECT_EQ(chat.form(), CallForm::kMistralArgs);
  EXPECT_TRUE(chat.takes_calls());
  const std::string text = rendered(chat, conversation(), tools());
  const std::string calls = written_calls(chat.form(), conversation()[1].calls);
  EXPECT_EQ(calls, R"([TOOL_CALLS]add[ARGS]{"b": 1, "a": "é\""})");
  EXPECT_TRUE(text.contains(calls)) << text;
}

TEST(ToolTemplate, FormsThatAreNotKnownAreReplacedByHermes) {
  for (const char* marker : {"<function=", "<|tool_calls_begin|>"}) {
    const ToolTemplate chat = tool_template(std::string("{% if tools %}") + marker +
                                            "{{ tools|tojson }}{% endif %}{% for m in messages %}"
                                            "[{{ m.role }}:{{ m.content }}]{% endfor %}");
    EXPECT_EQ(chat.form(), CallForm::kHermes);
    const std::string text = rendered(chat, conversation(), tools());
    EXPECT_TRUE(text.starts_with("[system:# Tools")) << text;
    EXPECT_TRUE(text.contains("<tool_call>\n{\"name\": \"add\"")) << text;
  }
}

}  // namespace
}  // namespace cria::text
