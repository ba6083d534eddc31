#include "text/chat_template.h"

#include <algorithm>

#include "base/json_fields.h"
#include "text/jinja_interpreter.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

/// Published templates have at most some 20,000 bytes, and take some thousand steps for a conversation.
constexpr size_t kMaxSourceBytes = 256 << 10;
constexpr uint64_t kMaxSteps = 1'000'000;
constexpr uint64_t kMaxBytes = 16 << 20;
/// A template copies what it is given a few times, so that both grow with the conversation.
constexpr uint64_t kBytesPerByte = 24;
constexpr uint64_t kStepsPerByte = 8;
constexpr size_t kMaxOutputBytes = 16 << 20;  // what the tokenizer takes

struct Builtin {
  std::string_view name, source;
};

constexpr Builtin kBuiltins[] = {
    {"chatml",
     R"jinja({% for message in messages %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %})jinja"},
    {"zephyr",
     R"jinja({% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
' + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %})jinja"},
    {"llama2", R"jinja({% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %})jinja"
               R"jinja({% set system_message = messages[0]['content'] %}{% else %})jinja"
               R"jinja({% set loop_messages = messages %}{% set system_message = false %}{% endif %})jinja"
               R"jinja({% for message in loop_messages %})jinja"
               R"jinja({% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %})jinja"
               R"jinja({{ raise_exception('roles must alternate') }}{% endif %})jinja"
               R"jinja({% if loop.index0 == 0 and system_message != false %})jinja"
               R"jinja({% set content = '<<SYS>>
' + system_message + '
<</SYS>>

' + message['content'] %})jinja"
               R"jinja({% else %}{% set content = message['content'] %}{% endif %})jinja"
               R"jinja({% if message['role'] == 'user' %})jinja"
               R"jinja({{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }})jinja"
               R"jinja({% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }})jinja"
               R"jinja({% endif %}{% endfor %})jinja"},
};

Status check_utf8(std::string_view text, std::string_view what) {
  const auto bad = find_invalid_utf8(text);
  if (!bad) return {};
  return fail(ErrorCode::kInvalidInput, "{} is not valid UTF-8 at byte {}", what, with_commas(*bad));
}

/// A special token is a string, or an object that describes an added token.
const Json* token_text(const Json& value) {
  if (value.is_string()) return &value;
  const auto content = value.is_object() ? value.find("content") : value.end();
  return value.is_object() && content != value.end() && content->is_string() ? &*content : nullptr;
}

/// The source in tokenizer_config.json; nothing where there is none.
Result<std::optional<std::string>> configured_source(const Json& config, std::string_view name) {
  const Json* found = JsonFields(config, name).find("chat_template");
  if (found == nullptr) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) {
    return fail(ErrorCode::kInvalidInput, "{}: \"chat_template\" is neither a string nor a list", name);
  }
  std::string names;
  for (const Json& entry : *found) {
    const JsonFields fields(entry, name);
    if (!entry.is_object()) return fail(ErrorCode::kInvalidInput, "{}: \"chat_template\" lists {}", name, shown(entry));
    CRIA_TRY_ASSIGN(const auto entry_name, fields.string("name"));
    CRIA_TRY_ASSIGN(auto source, fields.string("template"));
    if (!entry_name || !source) {
      return fail(ErrorCode::kInvalidInput, "{}: a template in \"chat_template\" lacks its name or text", name);
    }
    if (*entry_name == "default") return source;
    names += (names.empty() ? "" : ", ") + entry_name->substr(0, 60);
  }
  if (found->empty()) return std::nullopt;
  return fail(ErrorCode::kUnsupported, "{}: none of the chat templates is named \"default\" (there are: {})", name,
              names);
}

Result<Json> parse_settings(std::string_view text, std::string_view name) {
  if (text.empty()) return Json::object();
  CRIA_TRY_ASSIGN(Json json, parse_json(text, name));
  if (!json.is_object()) return fail(ErrorCode::kInvalidInput, "{}: is not a JSON object", name);
  return json;
}

jinja::Value call_value(const ToolCall& call, const ToolContext& context) {
  using jinja::Value;
  const std::string text = call.arguments.dump();
  return Value::dict(
      {{Value::string("id"), Value::string(call.id)},
       {Value::string("type"), Value::string("function")},
       {Value::string("function"),
        Value::dict({{Value::string("name"), Value::string(call.name)},
                     {Value::string("arguments"),
                      context.arguments_are_text ? Value::string(text) : Value::from_json(call.arguments)}})}});
}

jinja::Value message_value(const ChatMessage& message, const ToolContext& context) {
  using jinja::Value;
  const bool has_none = context.no_content_is_none && !message.calls.empty() && message.content.empty();
  jinja::Entries entries = {{Value::string("role"), Value::string(message.role)},
                            {Value::string("content"), has_none ? Value() : Value::string(message.content)}};
  if (!message.calls.empty()) {
    std::vector<Value> calls;
    calls.reserve(message.calls.size());
    for (const ToolCall& call : message.calls) calls.push_back(call_value(call, context));
    entries.emplace_back(Value::string("tool_calls"), Value::list(std::move(calls)));
  }
  if (!message.call_id.empty()) entries.emplace_back(Value::string("tool_call_id"), Value::string(message.call_id));
  if (!message.name.empty()) entries.emplace_back(Value::string("name"), Value::string(message.name));
  return Value::dict(std::move(entries));
}

/// What a message brings, in bytes of text.
Result<uint64_t> bytes_of(const ChatMessage& message) {
  CRIA_TRY(check_utf8(message.role, "the role of a message"));
  CRIA_TRY(check_utf8(message.content, "the text of a message"));
  uint64_t bytes = message.role.size() + message.content.size() + 64;
  for (const ToolCall& call : message.calls) bytes += call.name.size() + call.arguments.dump().size() + 64;
  return bytes;
}

}  // namespace

Result<ChatTemplate::Variables> special_tokens(std::string_view tokenizer_config_json, std::string_view name) {
  CRIA_TRY_ASSIGN(const Json config, parse_settings(tokenizer_config_json, name));
  ChatTemplate::Variables tokens;
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const auto found = config.find(key);
    const Json* text = found == config.end() ? nullptr : token_text(*found);
    if (text != nullptr) tokens[key] = text->get<std::string>();
  }
  return tokens;
}

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, Variables variables, std::string_view name) {
  if (source.size() > kMaxSourceBytes) {
    return fail(ErrorCode::kInvalidInput, "{}: a chat template of {} bytes is longer than {}", name,
                with_commas(source.size()), with_commas(kMaxSourceBytes));
  }
  CRIA_TRY(check_utf8(source, fmt::format("{}: the chat template", name)));
  auto block = jinja::parse(source);
  if (!block) return fail(block.error().code(), "{}: the chat template: {}", name, block.error().sentence());
  ChatTemplate result;
  result.name_ = name;
  result.variables_ = std::move(variables);
  result.source_ = std::make_shared<const std::string>(source);
  result.block_ = std::make_shared<const jinja::Block>(*std::move(block));
  return result;
}

Result<std::optional<ChatTemplate>> ChatTemplate::from_files(std::string_view chat_template_jinja,
                                                             std::string_view tokenizer_config_json,
                                                             const std::string& folder) {
  const std::string config_name = folder + "/tokenizer_config.json";
  CRIA_TRY_ASSIGN(Variables variables, special_tokens(tokenizer_config_json, config_name));
  if (!chat_template_jinja.empty()) {
    CRIA_TRY_ASSIGN(ChatTemplate own,
                    parse(chat_template_jinja, std::move(variables), folder + "/chat_template.jinja"));
    return own;
  }
  CRIA_TRY_ASSIGN(const Json config, parse_settings(tokenizer_config_json, config_name));
  CRIA_TRY_ASSIGN(const std::optional<std::string> source, configured_source(config, config_name));
  if (!source) return std::nullopt;
  CRIA_TRY_ASSIGN(ChatTemplate configured, parse(*source, std::move(variables), config_name));
  return configured;
}

std::optional<std::string_view> ChatTemplate::builtin(std::string_view name) {
  const auto* const found = std::ranges::find(kBuiltins, name, &Builtin::name);
  return found == std::end(kBuiltins) ? std::nullopt : std::optional(found->source);
}

std::string ChatTemplate::builtin_names() {
  std::string names;
  for (const Builtin& known : kBuiltins) names.append(names.empty() ? "" : ", ").append(known.name);
  return names;
}

Result<std::string> ChatTemplate::render(std::span<const ChatMessage> messages, bool add_generation_prompt,
                                         const Variables& more, const ToolContext& tools) const {
  using jinja::Value;
  uint64_t input_bytes = 0;
  std::vector<Value> list;
  for (const ChatMessage& message : messages) {
    CRIA_TRY_ASSIGN(const uint64_t bytes, bytes_of(message));
    input_bytes += bytes;
    list.push_back(message_value(message, tools));
  }
  jinja::Entries variables;
  for (const auto& [name, value] : variables_) variables.emplace_back(Value::string(name), Value::string(value));
  for (const auto& [name, value] : more) variables.emplace_back(Value::string(name), Value::string(value));
  variables.emplace_back(Value::string("messages"), Value::list(std::move(list)));
  variables.emplace_back(Value::string("add_generation_prompt"), Value::boolean(add_generation_prompt));
  // transformers hands these over in any case, where there are none as none.
  if (tools.tools != nullptr) input_bytes += 4 * tools.tools->dump().size();
  variables.emplace_back(Value::string("tools"), tools.tools == nullptr ? Value() : Value::from_json(*tools.tools));
  variables.emplace_back(Value::string("documents"), Value());

  jinja::Budget budget(kMaxSteps + kStepsPerByte * input_bytes, kMaxBytes + kBytesPerByte * input_bytes);
  auto text = jinja::Interpreter(budget, kMaxOutputBytes).run(*block_, variables);
  if (text) return text;
  return std::unexpected(std::move(text).error().while_doing(fmt::format("applying {}", name_)));
}

}  // namespace cria::text
