#include "server/server.h"

#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <ctime>
#include <random>
#include <utility>

#include "server/call_grammar.h"
#include "server/connections.h"
#include "server/embedding.h"
#include "server/generation.h"
#include "server/guard.h"
#include "server/metrics.h"
#include "text/tool_template.h"

namespace cria::server {
namespace {

constexpr const char* kJson = "application/json";
/// A key is kept as long as it takes for a pause between two requests of a client.
constexpr time_t kIdleSeconds = 5;
constexpr time_t kWriteSeconds = 10;
constexpr std::chrono::milliseconds kDrainPoll{20};
/// What is still taken of a body that was refused.
constexpr std::chrono::seconds kUnreadTime{1};
constexpr std::chrono::microseconds kUnreadPause{200'000};

std::vector<std::string> values(const httplib::Request& request, const char* header) {
  std::vector<std::string> list;
  const auto [begin, end] = request.headers.equal_range(header);
  for (auto entry = begin; entry != end; ++entry) list.push_back(entry->second);
  return list;
}

RequestHead head_of(const httplib::Request& request) {
  return {.method = request.method,
          .path = request.path,
          .host = values(request, "Host"),
          .origin = values(request, "Origin"),
          .authorization = values(request, "Authorization"),
          .content_length = values(request, "Content-Length"),
          .transfer_encoding = values(request, "Transfer-Encoding"),
          .content_type = values(request, "Content-Type"),
          .content_encoding = values(request, "Content-Encoding")};
}

std::string random_id(std::string_view prefix) {
  thread_local std::mt19937_64 random(std::random_device{}());
  return fmt::format("{}{:016x}{:08x}", prefix, random(), static_cast<uint32_t>(random()));
}

void answer(httplib::Response& response, const Refusal& refusal) {
  response.status = refusal.status;
  response.set_content(refusal.body(), kJson);
  if (refusal.status == 429) response.set_header("Retry-After", "1");
  if (refusal.status == 401) response.set_header("WWW-Authenticate", "Bearer");
}

void answer(httplib::Response& response, const Json& json) { response.set_content(dumped(json), kJson); }

/// Takes what a client still sends of a refused body, for a while: closed at once, the connection would be reset, and
/// the client might never see the answer.
void take_unread(socket_t socket) {
  std::vector<char> bytes(size_t{64} << 10);
  const auto end = Connections::Clock::now() + kUnreadTime;
  while (Connections::Clock::now() < end && httplib::detail::select_read(socket, 0, kUnreadPause.count()) > 0 &&
         httplib::detail::read_socket(socket, bytes.data(), bytes.size(), 0) > 0) {
  }
}

/// cpp-httplib's server, with an eye on how long requests take to arrive.
class HttpServer : public httplib::Server {
 public:
  explicit HttpServer(std::chrono::seconds limit) : connections_(limit) {}
  [[nodiscard]] const Connections& connections() const { return connections_; }

  void finish_reading() {
    Connections::current().has_unread_body = false;
    connections_.end_reading(Connections::current());
  }

  /// cpp-httplib lets 5 connections wait until they are accepted: where many come at once, others had to try again.
  void let_many_wait() { ::listen(svr_sock_, SOMAXCONN); }

 private:
  bool process_and_close_socket(socket_t socket) override {
    const Connections::Entry connection(connections_, static_cast<int>(socket));
    std::string remote;
    int remote_port = 0;
    httplib::detail::get_remote_ip_and_port(socket, remote, remote_port);
    const bool result = httplib::detail::process_server_socket(
        svr_sock_, socket, keep_alive_max_count_, keep_alive_timeout_sec_, read_timeout_sec_, read_timeout_usec_,
        write_timeout_sec_, write_timeout_usec_, [&](httplib::Stream& stream, bool close, bool& is_closed) {
          connections_.begin_request(*connection);
          const bool done = process_request(stream, remote, remote_port, "", 0, close, is_closed, nullptr);
          // What follows a request that was not read to its end is no request.
          is_closed = is_closed || !connection->was_routed || connection->must_close;
          connections_.end_reading(*connection);
          return done;
        });
    if (connection->has_unread_body) take_unread(socket);
    httplib::detail::shutdown_socket(socket);
    httplib::detail::close_socket(socket);
    return result;
  }

  Connections connections_;
};

CallReading call_reading_of(const std::optional<text::ToolTemplate>& chat, const engine::Engine& engine) {
  if (!chat) return {};
  return {.form = chat->form(), .markers = special_markers(chat->form(), engine.tokenizer())};
}

}  // namespace

struct Server::Impl {
  Impl(engine::Engine& the_engine, engine::Scheduler& the_scheduler, std::optional<text::ChatTemplate> the_chat,
       ServerOptions the_options)
      : engine(the_engine),
        scheduler(the_scheduler),
        chat(std::move(the_chat)),
        call_reading(call_reading_of(chat, engine)),
        options(std::move(the_options)),
        http(std::chrono::seconds(options.request_seconds)) {}

  void set_up();
  bool check_head(const httplib::Request& request, httplib::Response& response) const;
  void add_web();
  Json model_json() const;
  void health(httplib::Response& response, bool readiness) const;
  void tokenize(const httplib::Request& request, httplib::Response& response) const;
  void detokenize(const httplib::Request& request, httplib::Response& response) const;
  void embed(const httplib::Request& request, httplib::Response& response);
  void complete(const httplib::Request& request, httplib::Response& response, bool is_chat);
  Checked<std::vector<uint32_t>> prompt_tokens(const CompletionRequest& request) const;
  void answer_whole(const httplib::Request& request, httplib::Response& response, const ReplyHead& head,
                    Generation& generation) const;
  class EventStream;
  void answer_streaming(const httplib::Request& request, httplib::Response& response, const ReplyHead& head,
                        std::shared_ptr<Generation> generation) const;

  engine::Engine& engine;
  engine::Scheduler& scheduler;
  std::optional<text::ToolTemplate> chat;
  CallReading call_reading;
  ServerOptions options;
  HttpServer http;
  Metrics metrics;
  std::atomic<bool> is_stopping = false;
  std::atomic<int> answering = 0;  ///< generations that are not yet at their end
  std::atomic<bool> is_closed = false;
  uint16_t port = 0;
};

void Server::Impl::set_up() {
  http.new_task_queue = [this] {
    return new httplib::ThreadPool(options.max_connections, options.max_connections, options.max_connections);
  };
  http.set_tcp_nodelay(true);
  http.set_keep_alive_timeout(kIdleSeconds);
  http.set_read_timeout(kIdleSeconds);
  http.set_write_timeout(kWriteSeconds);
  http.set_payload_max_length(options.max_body_bytes);
  http.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    return check_head(request, response) ? httplib::Server::HandlerResponse::Unhandled
                                         : httplib::Server::HandlerResponse::Handled;
  });
  http.set_exception_handler([](const httplib::Request&, httplib::Response& response, const std::exception_ptr&) {
    answer(response, Refusal{.status = 500, .message = "the server failed to answer this request"});
  });
  // What cpp-httplib refuses by itself (a body that is malformed or too long) has no text yet.
  http.set_error_handler([this](const httplib::Request&, httplib::Response& response) {
    Connections::current().must_close = true;
    if (!response.body.empty()) return;
    const bool is_large = response.status == 413;
    const std::string large =
        fmt::format("the request's body is too large: it has more than {} bytes", with_commas(options.max_body_bytes));
    answer(response, Refusal{.status = response.status,
                             .message = is_large ? large : "the request is malformed",
                             .code = is_large ? "body_too_large" : "bad_request"});
  });
  http.set_logger(
      [this](const httplib::Request&, const httplib::Response& response) { metrics.count(response.status); });
  const auto handler = [this](auto body) {
    return [this, body](const httplib::Request& request, httplib::Response& response) {
      http.finish_reading();
      body(request, response);
    };
  };
  add_web();
  http.Get("/health", handler([this](const auto&, auto& response) { health(response, false); }));
  http.Get("/ready", handler([this](const auto&, auto& response) { health(response, true); }));
  http.Get("/metrics", handler([this](const auto&, auto& response) {
             response.set_content(metrics.text(scheduler.state(), http.connections().count()),
                                  "text/plain; version=0.0.4");
           }));
  http.Get("/v1/models", handler([this](const auto&, auto& response) {
             answer(response, Json{{"object", "list"}, {"data", Json::array({model_json()})}});
           }));
  http.Get("/v1/models/(.+)", handler([this](const auto& request, auto& response) {
             const std::string model = request.matches[1];
             if (model != options.model_name) return answer(response, refuse_model(model, options));
             answer(response, model_json());
           }));
  http.Post("/tokenize", handler([this](const auto& request, auto& response) { tokenize(request, response); }));
  http.Post("/detokenize", handler([this](const auto& request, auto& response) { detokenize(request, response); }));
  http.Post("/v1/embeddings", handler([this](const auto& request, auto& response) { embed(request, response); }));
  http.Post("/v1/completions",
            handler([this](const auto& request, auto& response) { complete(request, response, false); }));
  http.Post("/v1/chat/completions",
            handler([this](const auto& request, auto& response) { complete(request, response, true); }));
}

void Server::Impl::add_web() {
  if (!options.web) return;
  const auto add = [this](std::string_view path, auto body) {
    http.Get(std::string(path), [this, body](const httplib::Request& request, httplib::Response& response) {
      http.finish_reading();
      body(request, response);
    });
  };
  for (const WebFile& file : *options.web) {
    add(file.path, [&file](const httplib::Request& request, httplib::Response& response) {
      const WebAnswer answer = answer_web(file, values(request, "Accept-Encoding"), values(request, "If-None-Match"));
      response.status = answer.status;
      for (const auto& [name, value] : answer.headers) response.set_header(name, value);
      response.set_content(reinterpret_cast<const char*>(answer.body.data()), answer.body.size(),
                           std::string(answer.type));
    });
  }
  if (!options.web->empty()) return;
  add("/", [](const httplib::Request&, httplib::Response& response) {
    response.status = 404;
    response.set_content(std::string(missing_web()), "text/plain; charset=utf-8");
  });
}

/// False where the request is answered already.
bool Server::Impl::check_head(const httplib::Request& request, httplib::Response& response) const {
  Connections::Connection& connection = Connections::current();
  connection.was_routed = true;
  connection.has_unread_body = request.has_header("Content-Length") || request.has_header("Transfer-Encoding");
  const RequestHead head = head_of(request);
  if (const auto refusal = refuse_head(head, options)) {
    connection.must_close = true;
    answer(response, *refusal);
    return false;
  }
  for (const std::string& origin : head.origin) {
    if (!allows_origin(origin, options)) continue;
    response.set_header("Access-Control-Allow-Origin", origin);
    response.set_header("Vary", "Origin");
  }
  if (request.method != "OPTIONS") return true;
  response.status = 204;
  if (response.has_header("Access-Control-Allow-Origin")) {
    response.set_header("Access-Control-Allow-Methods", "GET, POST");
    response.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type");
  }
  return false;
}

Json Server::Impl::model_json() const {
  const engine::SamplingParams sampling = engine::resolve_sampling({}, engine.defaults());
  return {{"id", options.model_name},
          {"object", "model"},
          {"created", 0},
          {"owned_by", "cria"},
          {"max_context", engine.max_context()},
          {"max_tokens", options.max_tokens},
          {"has_chat_template", chat.has_value()},
          {"sampling",
           {{"temperature", sampling.temperature},
            {"top_p", sampling.top_p},
            {"top_k", sampling.top_k},
            {"min_p", sampling.min_p},
            {"repetition_penalty", sampling.repetition_penalty}}}};
}

/// Health is about the process, readiness about whether a request would be answered now.
void Server::Impl::health(httplib::Response& response, bool readiness) const {
  const engine::SchedulerState state = scheduler.state();
  const bool is_well = !state.is_broken && !(readiness && (is_stopping || state.is_recovering));
  if (!is_well) response.status = 503;
  answer(response, Json{{"status", state.is_broken       ? "device failed"
                                   : state.is_recovering ? "device lost: loading the model again"
                                   : is_stopping         ? "shutting down"
                                                         : "ok"}});
}

void Server::Impl::tokenize(const httplib::Request& request, httplib::Response& response) const {
  const auto parsed = parse_tokenize(request.body);
  if (!parsed) return answer(response, parsed.error());
  const auto tokens = engine.tokenizer().encode(parsed->text, {.add_special_tokens = parsed->add_special_tokens});
  if (!tokens) return answer(response, refusal_of(tokens.error()));
  answer(response, Json{{"tokens", *tokens}, {"count", tokens->size()}});
}

void Server::Impl::detokenize(const httplib::Request& request, httplib::Response& response) const {
  const auto tokens = parse_detokenize(request.body);
  if (!tokens) return answer(response, tokens.error());
  const auto text = engine.tokenizer().decode(*tokens, /*skip_special_tokens=*/false);
  if (!text) return answer(response, refusal_of(text.error()));
  answer(response, Json{{"text", *text}});
}

Checked<std::vector<uint32_t>> Server::Impl::prompt_tokens(const CompletionRequest& request) const {
  if (!request.prompt_tokens.empty()) return request.prompt_tokens;
  if (!request.is_chat) {
    auto tokens = engine.tokenizer().encode(request.prompt);
    if (!tokens) return std::unexpected(refusal_of(tokens.error()));
    return *std::move(tokens);
  }
  if (!chat) {
    return std::unexpected(Refusal{.message = "this model has no chat template: use /v1/completions, or start the "
                                              "server with --template",
                                   .code = "no_chat_template"});
  }
  static const OrderedJson kNone;
  const bool has_tools = request.tools.choice != ToolChoice::kNone;
  const auto text = chat->render(request.messages, has_tools ? request.tools.definitions : kNone);
  if (!text) return std::unexpected(refusal_of(text.error()));
  auto tokens = engine.tokenizer().encode(*text, {.add_special_tokens = false});
  if (!tokens) return std::unexpected(refusal_of(tokens.error()));
  return *std::move(tokens);
}

void Server::Impl::embed(const httplib::Request& request, httplib::Response& response) {
  const auto parsed = parse_embedding(request.body, options);
  if (!parsed) return answer(response, parsed.error());
  if (is_stopping) return answer(response, shutting_down());
  ++answering;
  const auto embeddings = embeddings_of(engine, scheduler, *parsed, [&] { return request.is_connection_closed(); });
  --answering;
  if (!embeddings) return answer(response, embeddings.error());
  Json data = Json::array();
  for (size_t i = 0; i < embeddings->vectors.size(); ++i) {
    const std::vector<float>& vector = embeddings->vectors[i];
    Json numbers = vector;
    if (parsed->is_base64) {
      static_assert(std::endian::native == std::endian::little);
      numbers = httplib::detail::base64_encode(
          std::string(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)));
    }
    data.push_back({{"object", "embedding"}, {"index", i}, {"embedding", std::move(numbers)}});
  }
  answer(response, Json{{"object", "list"},
                        {"model", options.model_name},
                        {"data", std::move(data)},
                        {"usage", {{"prompt_tokens", embeddings->tokens}, {"total_tokens", embeddings->tokens}}}});
}

void Server::Impl::complete(const httplib::Request& request, httplib::Response& response, bool is_chat) {
  auto parsed = parse_completion(request.body, is_chat, options);
  if (!parsed) return answer(response, parsed.error());
  const bool has_tools = parsed->tools.choice != ToolChoice::kNone;
  const auto tokens = prompt_tokens(*parsed);
  if (!tokens) return answer(response, tokens.error());
  const uint32_t context = engine.max_context();
  if (tokens->size() >= context) {
    return answer(response, Refusal{.message = fmt::format(
                                        "the prompt has {} tokens, and the context of {} must hold the answer too",
                                        tokens->size(), context),
                                    .parameter = is_chat ? "messages" : "prompt",
                                    .code = "context_length_exceeded"});
  }
  if (is_stopping) return answer(response, shutting_down());
  if (has_tools) {
    auto calls = call_grammar(parsed->tools, call_reading.form, call_reading.markers);
    if (!calls) return answer(response, calls.error());
    parsed->grammar = *std::move(calls);
  }
  auto begun =
      Generation::begin(engine, scheduler, *parsed, *tokens, has_tools ? std::optional(call_reading) : std::nullopt);
  if (!begun) return answer(response, begun.error());
  ++answering;
  const std::shared_ptr<Generation> generation(begun->release(), [this](Generation* whole) {
    delete whole;
    --answering;
  });
  const ReplyHead head{.is_chat = is_chat,
                       .id = random_id(is_chat ? "chatcmpl-" : "cmpl-"),
                       .model = options.model_name,
                       .created = std::time(nullptr),
                       .has_logprobs = parsed->top_logprobs.has_value(),
                       .has_usage = parsed->include_usage,
                       .has_tools = has_tools};
  if (!parsed->stream) return answer_whole(request, response, head, *generation);
  answer_streaming(request, response, head, generation);
}

void Server::Impl::answer_whole(const httplib::Request& request, httplib::Response& response, const ReplyHead& head,
                                Generation& generation) const {
  std::vector<std::string> texts(generation.count());
  std::vector<std::vector<CallPiece>> calls(generation.count());
  std::vector<std::vector<TokenReport>> tokens(generation.count());
  Json choices = Json::array();
  for (size_t i = 0; i < generation.count(); ++i) {
    while (!generation.has_ended(i)) {
      auto part = generation.poll(i);
      if (!part) return answer(response, part.error());
      texts[i] += part->text;
      for (CallPiece& piece : part->calls) {
        if (piece.id.empty()) {
          calls[i].back().arguments += piece.arguments;
        } else {
          calls[i].push_back(std::move(piece));
        }
      }
      tokens[i].insert(tokens[i].end(), part->tokens.begin(), part->tokens.end());
      if (part->ends_now) {
        Json logprobs = head.has_logprobs ? logprobs_json(head.is_chat, tokens[i], 0) : Json();
        choices.push_back(choice_json(head, i, texts[i], calls[i], std::move(logprobs), part->finish));
      }
      if (request.is_connection_closed()) {  // nobody waits: the jobs end with `generation`
        response.status = 499;
        return;
      }
    }
  }
  answer(response, reply_json(head, std::move(choices), generation.usage()));
}

/// The events of an answer, piece by piece.
class Server::Impl::EventStream {
 public:
  EventStream(const ReplyHead& head, std::shared_ptr<Generation> generation)
      : head_(head), generation_(std::move(generation)), offsets_(generation_->count()) {}

  /// What has come since the last call; waits a little, and is empty where nothing came.
  Checked<std::string> next() {
    std::string events;
    for (size_t i = 0; i < generation_->count(); ++i) {
      if (generation_->has_ended(i)) continue;
      CRIA_TRY_ASSIGN(const Generation::Part part, generation_->poll(i));
      if (!part.text.empty() || !part.tokens.empty()) {
        Json logprobs = head_.has_logprobs ? logprobs_json(head_.is_chat, part.tokens, offsets_[i]) : Json();
        offsets_[i] += characters_of(part.tokens);
        events += text_event(head_, i, part.text, std::move(logprobs));
      }
      if (!part.calls.empty()) events += calls_event(head_, i, part.calls);
      if (part.ends_now) events += finish_event(head_, i, part.finish);
    }
    if (has_ended() && head_.has_usage) events += usage_event(head_, generation_->usage());
    if (has_ended()) events += kDoneEvent;
    if (events.empty() || began_) return events;
    began_ = true;
    std::string roles;
    for (size_t i = 0; head_.is_chat && i < generation_->count(); ++i) roles += role_event(head_, i);
    return roles + events;
  }

  [[nodiscard]] bool has_ended() const { return generation_->has_ended(); }

 private:
  ReplyHead head_;
  std::shared_ptr<Generation> generation_;
  std::vector<size_t> offsets_;
  bool began_ = false;
};

/// The status line is sent with the first event: what fails before has a status of its own, and a balancer may send the
/// request to another server until then.
void Server::Impl::answer_streaming(const httplib::Request& request, httplib::Response& response, const ReplyHead& head,
                                    std::shared_ptr<Generation> generation) const {
  const auto stream = std::make_shared<EventStream>(head, std::move(generation));
  std::string first;
  while (first.empty()) {
    auto events = stream->next();
    if (!events) return answer(response, events.error());
    first = std::move(*events);
    if (request.is_connection_closed()) {  // nobody waits: the jobs end with the stream
      response.status = 499;
      return;
    }
  }
  response.set_header("Cache-Control", "no-cache");
  const auto provide = [stream, first = std::move(first)](size_t, httplib::DataSink& sink) mutable {
    auto events = first.empty() ? stream->next() : Checked<std::string>(std::exchange(first, {}));
    const bool ends = !events || stream->has_ended();
    if (!events) events = error_event(events.error());
    if (!sink.is_writable() || (!events->empty() && !sink.write(events->data(), events->size()))) return false;
    if (ends) sink.done();
    return true;
  };
  response.set_chunked_content_provider("text/event-stream", provide);
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Status check_address(const ServerOptions& options) {
  const bool is_printable = std::ranges::all_of(options.api_key, [](char c) { return c > ' ' && c < 0x7f; });
  if (!is_printable) return fail(ErrorCode::kInvalidInput, "the API key holds a blank or a character beyond ASCII");
  if (!options.api_key.empty() || is_loopback(options.host)) return {};
  return fail(ErrorCode::kInvalidInput,
              "--host {} can be reached by others: give an --api-key, or stay on 127.0.0.1, the default", options.host);
}

Result<std::unique_ptr<Server>> Server::create(engine::Engine& engine, engine::Scheduler& scheduler,
                                               std::optional<text::ChatTemplate> chat, ServerOptions options) {
  CRIA_TRY(check_address(options));
  auto impl = std::make_unique<Impl>(engine, scheduler, std::move(chat), std::move(options));
  impl->set_up();
  const std::string& host = impl->options.host;
  const int wanted = impl->options.port;
  const int port = wanted == 0                             ? impl->http.bind_to_any_port(host)
                   : impl->http.bind_to_port(host, wanted) ? wanted
                                                           : -1;
  if (port <= 0) {
    return fail(ErrorCode::kIo, "the address {}:{} cannot be listened on: it is in use, or not this machine's", host,
                wanted);
  }
  impl->http.let_many_wait();
  impl->port = static_cast<uint16_t>(port);
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

uint16_t Server::port() const { return impl_->port; }

void Server::listen() { impl_->http.listen_after_bind(); }

void Server::stop(std::chrono::seconds limit) {
  impl_->is_stopping = true;
  // The socket stays open meanwhile: without it cpp-httplib would cut off the answers that are being streamed.
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (impl_->answering > 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(kDrainPoll);
  if (impl_->is_closed.exchange(true)) return;  // of several that stop it, the first has done all
  impl_->http.wait_until_ready();               // a server that does not listen yet would not notice
  impl_->http.stop();
}

}  // namespace cria::server
