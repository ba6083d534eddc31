#include "server/request.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/json_fields.h"
#include "server/messages.h"
#include "server/structure.h"

namespace cria::server {
namespace {

constexpr uint32_t kMaxCount = 8;
constexpr uint32_t kMaxTopLogprobs = 20;     // of a chat
constexpr uint32_t kMaxTextTopLogprobs = 5;  // of a completion
constexpr size_t kMaxInputs = 2048;          // of one request for embeddings
constexpr size_t kMaxStops = 4;
constexpr size_t kMaxStopBytes = 256;
constexpr JsonLimits kLimits = {.max_depth = 64, .max_containers = 20'000};

/// The fields of a request, taken one after the other; what nobody took is not known.
class Fields {
 public:
  static Checked<Fields> parse(const std::string& body) {
    auto json = parse_json(body, "the request's body", kLimits);
    if (!json) return std::unexpected(Refusal{.message = json.error().message(), .code = "invalid_json"});
    if (!json->is_object())
      return std::unexpected(Refusal{.message = "the request's body is not a JSON object", .code = "invalid_json"});
    return Fields(*std::move(json));
  }

  /// The field, or nullptr where it is missing or null.
  const Json* take(const std::string& key) {
    taken_.insert(key);
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  Checked<std::optional<double>> number(const std::string& key, double low, double high, bool low_is_allowed = true) {
    const Json* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_number()) {
      const auto number = value->get<double>();
      if (std::isfinite(number) && number <= high && (low_is_allowed ? number >= low : number > low)) return number;
    }
    return refuse(key, fmt::format("\"{}\" is {}: it must be a number {} {} and at most {}", key, shown(*value),
                                   low_is_allowed ? "of at least" : "above", low, high));
  }

  Checked<std::optional<uint64_t>> whole(const std::string& key, uint64_t low, uint64_t high) {
    const Json* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (const auto number = whole_number(*value); number && *number >= low && *number <= high) return number;
    return refuse(key,
                  fmt::format("\"{}\" is {}: it must be a whole number from {} to {}", key, shown(*value), low, high));
  }

  Checked<bool> boolean(const std::string& key, bool otherwise) {
    const Json* value = take(key);
    if (value == nullptr) return otherwise;
    if (value->is_boolean()) return value->get<bool>();
    return refuse(key, fmt::format("\"{}\" is {}: it must be true or false", key, shown(*value)));
  }

  Checked<std::optional<std::string>> string(const std::string& key) {
    const Json* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_string()) return value->get<std::string>();
    return refuse(key, fmt::format("\"{}\" is {}: it must be a string", key, shown(*value)));
  }

  /// A parameter of OpenAI's that is not implemented: taken where its value changes nothing.
  Checked<bool> neutral(const std::string& key, const std::vector<Json>& values) {
    const Json* value = take(key);
    if (value == nullptr || std::ranges::find(values, *value) != values.end()) return true;
    return std::unexpected(Refusal{.message = fmt::format("\"{}\" is not supported by this server", key),
                                   .parameter = key,
                                   .code = "unsupported_parameter"});
  }

  /// Errors where a field is left that nobody took.
  [[nodiscard]] Checked<bool> finish() const {
    for (const auto& [key, value] : json_.items()) {
      if (taken_.contains(key)) continue;
      const std::string known = key.substr(0, 60);
      return std::unexpected(Refusal{.message = fmt::format("\"{}\" is no parameter that this server knows", known),
                                     .parameter = known,
                                     .code = "unknown_parameter"});
    }
    return true;
  }

 private:
  explicit Fields(Json json) : json_(std::move(json)) {}
  Json json_;
  std::set<std::string> taken_;
};

Checked<std::vector<uint32_t>> tokens_of(const Json& list, const std::string& key) {
  std::vector<uint32_t> tokens;
  for (const Json& entry : list) {
    const auto token = whole_number(entry);
    if (!token || *token > UINT32_MAX) {
      return refuse(
          key, fmt::format("\"{}\" holds {}: it must be a list of tokens, which are whole numbers", key, shown(entry)));
    }
    tokens.push_back(static_cast<uint32_t>(*token));
  }
  return tokens;
}

/// A text, a list with one text, or a list of tokens.
Checked<bool> read_prompt(const Json* prompt, CompletionRequest& request) {
  if (prompt == nullptr) return refuse("prompt", "\"prompt\" is missing");
  const Json* text =
      prompt->is_array() && prompt->size() == 1 && prompt->front().is_string() ? &prompt->front() : prompt;
  if (text->is_string()) {
    request.prompt = text->get<std::string>();
    if (request.prompt.empty()) return refuse("prompt", "\"prompt\" is empty: there is nothing to continue");
    return true;
  }
  if (!prompt->is_array() || prompt->empty()) {
    return refuse("prompt", fmt::format("\"prompt\" is {}: it must be a string or a list of tokens", shown(*prompt)));
  }
  if (prompt->front().is_string() || prompt->front().is_array()) {
    return refuse("prompt", "\"prompt\" holds several prompts: send each in a request of its own");
  }
  CRIA_TRY_ASSIGN(request.prompt_tokens, tokens_of(*prompt, "prompt"));
  return true;
}

Checked<std::vector<std::string>> stops_of(const Json* value) {
  std::vector<std::string> stops;
  if (value == nullptr) return stops;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& stop : list) {
    const bool fits = stop.is_string() && !stop.get_ref<const std::string&>().empty() &&
                      stop.get_ref<const std::string&>().size() <= kMaxStopBytes;
    if (!fits) {
      return refuse("stop",
                    fmt::format("\"stop\" holds {}: it must be texts of 1 to {} bytes", shown(stop), kMaxStopBytes));
    }
    stops.push_back(stop.get<std::string>());
  }
  if (stops.size() > kMaxStops) {
    return refuse("stop", fmt::format("\"stop\" holds {} texts: at most {} are taken", stops.size(), kMaxStops));
  }
  return stops;
}

/// An object from tokens' ids, as strings, to numbers.
Checked<std::vector<engine::LogitBias>> biases_of(const Json* object) {
  std::vector<engine::LogitBias> biases;
  if (object == nullptr) return biases;
  if (!object->is_object() || object->size() > engine::kMaxLogitBiases) {
    return refuse("logit_bias",
                  fmt::format("\"logit_bias\" must be an object of at most {} tokens, such as {{\"17\": -100}}",
                              engine::kMaxLogitBiases));
  }
  for (const auto& [key, value] : object->items()) {
    engine::LogitBias bias;
    const char* const end = key.data() + key.size();
    const auto [after, error] = std::from_chars(key.data(), end, bias.token);
    if (error != std::errc() || after != end) {
      return refuse("logit_bias",
                    fmt::format("\"logit_bias\" has the key {}: it must be the number of a token", shown(Json(key))));
    }
    if (!value.is_number() || !(std::abs(value.get<double>()) <= 100)) {
      return refuse("logit_bias", fmt::format("\"logit_bias\" of token {} is {}: it must be a number from -100 to 100",
                                              bias.token, shown(value)));
    }
    bias.value = value.get<float>();
    biases.push_back(bias);
  }
  return biases;
}

template <typename T, typename U>
void narrow(const std::optional<U>& from, std::optional<T>& to) {
  if (from) to = static_cast<T>(*from);
}

Checked<bool> read_sampling(Fields& fields, engine::SamplingChoice& sampling) {
  CRIA_TRY_ASSIGN(const auto temperature, fields.number("temperature", 0, 2));
  CRIA_TRY_ASSIGN(const auto top_p, fields.number("top_p", 1e-6, 1));
  CRIA_TRY_ASSIGN(const auto min_p, fields.number("min_p", 0, 1));
  CRIA_TRY_ASSIGN(const auto penalty, fields.number("repetition_penalty", 0.01, 100));
  CRIA_TRY_ASSIGN(const auto presence, fields.number("presence_penalty", -2, 2));
  CRIA_TRY_ASSIGN(const auto frequency, fields.number("frequency_penalty", -2, 2));
  CRIA_TRY_ASSIGN(sampling.logit_bias, biases_of(fields.take("logit_bias")));
  CRIA_TRY_ASSIGN(const auto top_k, fields.whole("top_k", 0, UINT32_MAX));
  CRIA_TRY_ASSIGN(sampling.seed, fields.whole("seed", 0, UINT64_MAX));
  narrow(temperature, sampling.temperature);
  narrow(top_p, sampling.top_p);
  narrow(min_p, sampling.min_p);
  narrow(penalty, sampling.repetition_penalty);
  narrow(top_k, sampling.top_k);
  narrow(presence, sampling.presence_penalty);
  narrow(frequency, sampling.frequency_penalty);
  return true;
}

Checked<bool> read_length(Fields& fields, const ServerOptions& options, CompletionRequest& request) {
  CRIA_TRY_ASSIGN(const auto max_tokens, fields.whole("max_tokens", 1, options.max_tokens));
  std::optional<uint64_t> newer;  // OpenAI's newer name
  if (request.is_chat) {
    CRIA_TRY_ASSIGN(newer, fields.whole("max_completion_tokens", 1, options.max_tokens));
  }
  if (max_tokens && newer) {
    return refuse("max_completion_tokens", "\"max_tokens\" and \"max_completion_tokens\" were both given");
  }
  request.max_tokens = static_cast<uint32_t>(max_tokens.value_or(newer.value_or(options.max_tokens)));
  CRIA_TRY_ASSIGN(const auto count, fields.whole("n", 1, kMaxCount));
  request.count = static_cast<uint32_t>(count.value_or(1));
  CRIA_TRY_ASSIGN(request.ignores_eos, fields.boolean("ignore_eos", false));
  return true;
}

/// Of a chat "logprobs" is a switch beside "top_logprobs", of a completion it is the number.
Checked<bool> read_logprobs(Fields& fields, CompletionRequest& request) {
  if (!request.is_chat) {
    CRIA_TRY_ASSIGN(const auto top, fields.whole("logprobs", 0, kMaxTextTopLogprobs));
    narrow(top, request.top_logprobs);
    return true;
  }
  CRIA_TRY_ASSIGN(const bool is_wanted, fields.boolean("logprobs", false));
  CRIA_TRY_ASSIGN(const auto top, fields.whole("top_logprobs", 0, kMaxTopLogprobs));
  if (top && *top > 0 && !is_wanted) {
    return refuse("top_logprobs", "\"top_logprobs\" was given without \"logprobs\": true");
  }
  if (is_wanted) request.top_logprobs = static_cast<uint32_t>(top.value_or(0));
  return true;
}

Checked<bool> read_stream(Fields& fields, CompletionRequest& request) {
  CRIA_TRY_ASSIGN(request.stream, fields.boolean("stream", false));
  const Json* more = fields.take("stream_options");
  if (more == nullptr) return true;
  const auto usage = more->is_object() ? more->find("include_usage") : more->end();
  const bool is_known = more->is_object() && more->size() == 1 && usage != more->end() && usage->is_boolean();
  if (!is_known || !request.stream) {
    return refuse("stream_options",
                  "\"stream_options\" must be {\"include_usage\": true or false}, with \"stream\": true");
  }
  request.include_usage = usage->get<bool>();
  return true;
}

/// Of a chat; answers that may call tools have a grammar of their own, made where the model's template is known.
Checked<bool> read_tool_use(Fields& fields, const std::string& body, CompletionRequest& request) {
  const Json* const tools = fields.take("tools");
  const Json* const choice = fields.take("tool_choice");
  CRIA_TRY_ASSIGN(const bool is_parallel, fields.boolean("parallel_tool_calls", true));
  CRIA_TRY_ASSIGN(request.tools, read_tools(body, tools, choice, is_parallel));
  if (!request.grammar || request.tools.choice == ToolChoice::kNone) return true;
  return refuse("tools",
                "\"tools\" and a form of the answer (\"response_format\" or \"grammar\") were both given: with "
                "\"tool_choice\": \"none\" they go together");
}

/// What OpenAI's API has and this server does not.
Checked<bool> read_unsupported(Fields& fields, bool is_chat) {
  if (!is_chat) {
    CRIA_TRY(fields.neutral("echo", {false}));
    CRIA_TRY(fields.neutral("best_of", {1}));
    CRIA_TRY(fields.neutral("suffix", {""}));
    return true;
  }
  CRIA_TRY(fields.neutral("functions", {Json::array()}));
  CRIA_TRY(fields.neutral("function_call", {"none", "auto"}));
  CRIA_TRY(fields.neutral("modalities", {Json::array({"text"})}));
  CRIA_TRY(fields.neutral("store", {false}));
  CRIA_TRY(fields.neutral("service_tier", {"auto", "default"}));
  CRIA_TRY(fields.neutral("metadata", {Json::object()}));
  CRIA_TRY(fields.string("prompt_cache_key"));  // what prompts begin with is found without it
  CRIA_TRY(fields.string("safety_identifier"));
  return true;
}

/// Refuses another model than the one that is here.
Checked<bool> read_model(Fields& fields, const ServerOptions& options) {
  CRIA_TRY_ASSIGN(const auto model, fields.string("model"));
  if (!model || *model == options.model_name) return true;
  return std::unexpected(refuse_model(*model, options));
}

/// A text, tokens, or a list of either.
Checked<std::vector<EmbeddingRequest::Input>> inputs_of(const Json* value) {
  if (value == nullptr) return refuse("input", "\"input\" is missing");
  const bool is_list = value->is_array() && !value->empty() && !value->front().is_number();
  const Json list = is_list ? *value : Json::array({*value});
  if (list.size() > kMaxInputs) {
    return refuse("input", fmt::format("\"input\" holds {} inputs: at most {} are taken", list.size(), kMaxInputs));
  }
  std::vector<EmbeddingRequest::Input> inputs;
  for (const Json& entry : list) {
    EmbeddingRequest::Input input;
    if (entry.is_string()) {
      input.text = entry.get<std::string>();
    } else if (entry.is_array()) {
      CRIA_TRY_ASSIGN(input.tokens, tokens_of(entry, "input"));
    } else {
      return refuse("input",
                    fmt::format("\"input\" is or holds {}: it must be a text, a list of tokens, or a list of either",
                                shown(entry)));
    }
    if (input.text.empty() && input.tokens.empty())
      return refuse("input", "\"input\" is or holds an empty text or list");
    inputs.push_back(std::move(input));
  }
  return inputs;
}

}  // namespace

Refusal refuse_model(const std::string& model, const ServerOptions& options) {
  return {.status = 404,
          .message = fmt::format("there is no model \"{}\" here, but \"{}\"", model.substr(0, 100), options.model_name),
          .parameter = "model",
          .code = "model_not_found"};
}

Checked<EmbeddingRequest> parse_embedding(const std::string& body, const ServerOptions& options) {
  EmbeddingRequest request;
  CRIA_TRY_ASSIGN(Fields fields, Fields::parse(body));
  CRIA_TRY(read_model(fields, options));
  CRIA_TRY_ASSIGN(request.inputs, inputs_of(fields.take("input")));
  CRIA_TRY_ASSIGN(const auto format, fields.string("encoding_format"));
  if (format && *format != "float" && *format != "base64") {
    return refuse("encoding_format",
                  fmt::format("\"encoding_format\" is {}: it must be \"float\" or \"base64\"", shown(Json(*format))));
  }
  request.is_base64 = format == "base64";
  CRIA_TRY_ASSIGN(request.dimensions, fields.whole("dimensions", 1, UINT32_MAX));
  CRIA_TRY(fields.string("user"));
  CRIA_TRY(fields.finish());
  return request;
}

Checked<CompletionRequest> parse_completion(const std::string& body, bool is_chat, const ServerOptions& options) {
  CompletionRequest request;
  request.is_chat = is_chat;
  CRIA_TRY_ASSIGN(Fields fields, Fields::parse(body));
  CRIA_TRY(read_model(fields, options));
  if (is_chat) {
    CRIA_TRY_ASSIGN(request.messages, read_messages(fields.take("messages")));
  } else {
    CRIA_TRY(read_prompt(fields.take("prompt"), request));
  }
  CRIA_TRY(read_sampling(fields, request.sampling));
  CRIA_TRY(read_length(fields, options, request));
  CRIA_TRY(read_logprobs(fields, request));
  CRIA_TRY_ASSIGN(request.stops, stops_of(fields.take("stop")));
  CRIA_TRY(read_stream(fields, request));
  const Json* const format = fields.take("response_format");
  CRIA_TRY_ASSIGN(const auto grammar, fields.string("grammar"));
  CRIA_TRY_ASSIGN(request.grammar, read_structure(body, format, grammar));
  CRIA_TRY(fields.string("user"));  // says who asks, and changes nothing
  if (is_chat) CRIA_TRY(read_tool_use(fields, body, request));
  CRIA_TRY(read_unsupported(fields, is_chat));
  CRIA_TRY(fields.finish());
  return request;
}

Checked<TokenizeRequest> parse_tokenize(const std::string& body) {
  CRIA_TRY_ASSIGN(Fields fields, Fields::parse(body));
  CRIA_TRY_ASSIGN(auto text, fields.string("text"));
  TokenizeRequest request;
  CRIA_TRY_ASSIGN(request.add_special_tokens, fields.boolean("add_special_tokens", true));
  CRIA_TRY(fields.finish());
  if (!text) return refuse("text", "\"text\" is missing");
  request.text = *std::move(text);
  return request;
}

Checked<std::vector<uint32_t>> parse_detokenize(const std::string& body) {
  CRIA_TRY_ASSIGN(Fields fields, Fields::parse(body));
  const Json* list = fields.take("tokens");
  CRIA_TRY(fields.finish());
  if (list == nullptr) return refuse("tokens", "\"tokens\" is missing");
  if (!list->is_array()) {
    return refuse("tokens", fmt::format("\"tokens\" is {}: it must be a list of tokens", shown(*list)));
  }
  return tokens_of(*list, "tokens");
}

}  // namespace cria::server
