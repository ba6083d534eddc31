// A server of a test's own, on a port of its own, with a tiny model; clients talk to it over real sockets.
#pragma once

#include <gtest/gtest.h>
#include <httplib.h>

#include <thread>

#include "base/json.h"
#include "server/server.h"
#include "tiny_model.h"

namespace cria::server {

class ServerTest : public testing::Test {
 protected:
  using Clock = std::chrono::steady_clock;

  /// A server of the default model, whose threads run.
  void start(ServerOptions options = {}, uint32_t slots = 2, const engine::SchedulerOptions& scheduling = {},
             bool has_template = true) {
    create(std::move(options), slots, scheduling, has_template);
    listener_ = std::thread([this] { server_->listen(); });
    runner_ = std::thread([this] { run_status_ = scheduler_->run(); });
  }

  void create(ServerOptions options = {}, uint32_t slots = 2, const engine::SchedulerOptions& scheduling = {},
              bool has_template = true) {
    engine::EngineOptions engine_options;
    engine_options.needs_tokenizer = true;
    engine_options.device.validates = false;  // as in the program
    engine_options.model.slots = slots;
    engine_options.model.max_context = max_context_;
    engine_options.model.cache_positions = cache_positions_;
    engine_options.draft.source = draft_source_;
    auto engine = engine::Engine::load(model_path_, engine_options);
    ASSERT_TRUE(engine) << engine.error().message();
    engine_ = *std::move(engine);
    scheduler_ = engine::Scheduler::create(*engine_, scheduling).value();
    options.port = 0;
    options.model_name = "stories";
    std::optional<text::ChatTemplate> chat;
    if (has_template) {
      chat = text::ChatTemplate::parse(template_, {}, "template").value();
    }
    auto server = Server::create(*engine_, *scheduler_, std::move(chat), options);
    ASSERT_TRUE(server) << server.error().message();
    server_ = *std::move(server);
  }

  void finish() {
    if (!server_) return;
    if (runner_.joinable()) {
      server_->stop(std::chrono::seconds(0));
      scheduler_->stop(true);
      runner_.join();
      listener_.join();
    }
    server_ = nullptr;
  }
  void TearDown() override { finish(); }

  [[nodiscard]] httplib::Client client() const {
    httplib::Client client("127.0.0.1", server_->port());
    client.set_read_timeout(60);
    return client;
  }

  struct Reply {
    int status = -1;
    Json json;
    std::string text;
    httplib::Headers headers;
  };
  static Reply reply_of(const httplib::Result& result) {
    Reply reply;
    if (!result) return reply;
    reply.status = result->status;
    reply.text = result->body;
    reply.headers = result->headers;
    if (auto json = parse_json(result->body, "reply")) reply.json = *std::move(json);
    return reply;
  }
  [[nodiscard]] Reply post(const std::string& path, const std::string& body) const {
    return reply_of(client().Post(path, body, "application/json"));
  }
  [[nodiscard]] Reply post(const std::string& path, const Json& body) const { return post(path, body.dump()); }
  [[nodiscard]] Reply get(const std::string& path) const { return reply_of(client().Get(path)); }

  /// Sends bytes as they are and returns what comes back until the server closes, or so long has passed.
  [[nodiscard]] std::string raw(const std::string& bytes,
                                std::chrono::milliseconds limit = std::chrono::seconds(10)) const;

  /// The refusal is in OpenAI's form.
  static void expect_refused(const Reply& reply, int status, std::string_view phrase) {
    EXPECT_EQ(reply.status, status) << reply.text;
    ASSERT_TRUE(reply.json.contains("error")) << reply.text;
    const Json& error = reply.json.at("error");
    EXPECT_NE(error.at("message").get<std::string>().find(phrase), std::string::npos) << reply.text;
    EXPECT_TRUE(error.contains("type") && error.contains("param") && error.contains("code"));
  }

  /// Waits until no slot is busy and no job waits.
  void expect_idle_soon() const {
    const auto deadline = Clock::now() + std::chrono::seconds(20);
    engine::SchedulerState state = scheduler_->state();
    while ((state.busy_slots > 0 || state.queued > 0) && Clock::now() < deadline) {
      std::this_thread::yield();
      state = scheduler_->state();
    }
    EXPECT_EQ(state.busy_slots, 0U);
    EXPECT_EQ(state.queued, 0U);
  }

  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<engine::Scheduler> scheduler_;
  std::unique_ptr<Server> server_;
  std::thread listener_, runner_;
  Status run_status_;  // what the scheduler ended with
  std::filesystem::path model_path_ = default_model_path();
  std::string template_ = std::string(*text::ChatTemplate::builtin("chatml"));
  uint32_t max_context_ = 256;
  engine::DraftSource draft_source_ = engine::DraftSource::kOff;
  uint32_t cache_positions_ = 0;  // of all slots together; 0: as many as they may need
};

/// A connection of bytes.
class RawClient {
 public:
  explicit RawClient(uint16_t port);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  /// False where the server does not take them any more.
  bool send(const std::string& bytes);
  /// What comes until the server closes, `limit` has passed, or the text holds `until`.
  std::string receive(std::chrono::milliseconds limit, const std::string& until = "");
  [[nodiscard]] bool is_closed() const { return is_closed_; }

 private:
  int socket_ = -1;
  bool is_closed_ = false;
};

inline std::string ServerTest::raw(const std::string& bytes, std::chrono::milliseconds limit) const {
  RawClient client(server_->port());
  client.send(bytes);
  return client.receive(limit);
}

}  // namespace cria::server
