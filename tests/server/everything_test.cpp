// Everything at once, for a long time: requests that are right, wrong and at the limits, streams, clients that vanish
// and clients that dawdle, bytes that are no requests. Runs with CRIA_TEST_FULL=1 only; CRIA_TEST_SECONDS says how
// long.
#include "server/load.h"
#include "server/reply.h"

namespace cria::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kClients = 8;
constexpr int kMostRequests = 200'000;  // of all clients together
constexpr uint64_t kMostBodyBytes = 20'000;
constexpr uint32_t kMostTokens = 24;

seconds duration() {
  const char* value = std::getenv("CRIA_TEST_SECONDS");
  return seconds(value == nullptr ? 60 : std::atoi(value));
}

class EverythingTest : public LoadTest {
 protected:
  /// One client's life.
  void run_client(unsigned seed) {
    std::mt19937 random(seed);
    const auto end = Clock::now() + duration();
    httplib::Client connection = client();
    connection.set_keep_alive(true);
    while (Clock::now() < end && ++requests_ <= kMostRequests) {
      switch (random() % 8) {
        case 0: ask_and_vanish(server_->port(), request(random_prompt(random)), random); break;
        case 1: dawdle(random); break;
        case 2: stream(random); break;
        case 3: ask_aside(connection, random); break;
        case 4: speak_nonsense(random); break;
        case 5: expect_answer(connection.Post("/v1/completions", random_prompt(random), "application/json")); break;
        default: ask_at_random(connection, random);
      }
    }
  }

  void expect_answer(const httplib::Result& reply) {
    // A client of many may be told to come back, or find that its kept connection was closed meanwhile.
    if (!reply) {
      ++failed_;
      return;
    }
    const int status = reply->status;
    ++(status == 200 ? taken_ : refused_);
    EXPECT_TRUE(status == 200 || (status >= 400 && status < 500) || status == 503)
        << status << ": " << reply->body.substr(0, 300);
  }

  /// From one word to more than the context holds, or than the server takes.
  static std::string random_prompt(std::mt19937& random) {
    const size_t most = random() % 10 == 0 ? kMostBodyBytes + 100 : random() % 4 == 0 ? 400 : 40;
    Json body = {{"prompt", std::string(1 + random() % most, "ab \n"[random() % 4])},
                 {"max_tokens", 1 + random() % (kMostTokens + 2)},
                 {"stream", random() % 2 == 0},
                 {"n", 1 + random() % 3}};
    if (random() % 3 == 0) body["logprobs"] = random() % 7;
    if (random() % 3 == 0) body["stop"] = Json::array({"a", " "});
    return body.dump();
  }

  void ask_at_random(httplib::Client& connection, std::mt19937& random) {
    static const std::vector<Parameter> table = parameters();
    const bool is_chat = random() % 2 == 0;
    expect_answer(connection.Post(is_chat ? "/v1/chat/completions" : "/v1/completions",
                                  random_body(random, table, is_chat), "application/json"));
  }

  void ask_aside(httplib::Client& connection, std::mt19937& random) {
    const std::string text(random() % 300, static_cast<char>(random() % 200));
    const std::string body = dumped({{random() % 2 == 0 ? "text" : "input", text}});
    switch (random() % 7) {
      case 0: return expect_answer(connection.Get("/metrics"));
      case 1: return expect_answer(connection.Get("/v1/models"));
      case 2: return expect_answer(connection.Get("/health"));
      case 3: return expect_answer(connection.Post("/v1/embeddings", body, "application/json"));
      case 4: return expect_answer(connection.Post("/detokenize", R"({"tokens":[5,6,999]})", "application/json"));
      case 5: return expect_answer(connection.Post("/tokenize", body, "text/plain"));
      default: return expect_answer(connection.Post("/tokenize", body, "application/json"));
    }
  }

  /// A stream that is read to its end has one.
  void stream(std::mt19937& random) {
    const Json body = {
        {"prompt", "Once"}, {"max_tokens", 1 + random() % kMostTokens}, {"stream", true}, {"n", 1 + random() % 3}};
    RawClient client(server_->port());
    if (!client.send(request(body.dump()))) return;
    const std::string text = client.receive(seconds(60), "[DONE]");
    const bool is_taken = text.find("200 OK") != std::string::npos;
    if (is_taken) {
      EXPECT_NE(text.find("data: [DONE]"), std::string::npos) << text;
    }
    ++(is_taken ? taken_ : refused_);
  }

  /// A request in pieces, with pauses that may be longer than the server waits; an answer that is read in pieces.
  void dawdle(std::mt19937& random) {
    const std::string bytes = request(random_prompt(random));
    const milliseconds pause(random() % 200);
    RawClient client(server_->port());
    for (size_t at = 0; at < bytes.size() && !client.is_closed();) {
      const size_t size = 1 + random() % (bytes.size() / 4 + 1);
      if (!client.send(bytes.substr(at, size))) return;
      at += size;
      client.receive(pause);  // nothing comes yet: this waits
    }
    for (int i = 0; i < 20 && !client.is_closed(); ++i) client.receive(milliseconds(20));
  }

  void speak_nonsense(std::mt19937& random) {
    std::string bytes = request(random_prompt(random));
    for (int i = 0; i < 4; ++i) {
      const size_t at = random() % std::min<size_t>(bytes.size(), 200);
      if (random() % 2 == 0) {
        bytes[at] = static_cast<char>(random());
      } else {
        bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 60));
      }
    }
    RawClient client(server_->port());
    client.send(bytes);
    client.receive(milliseconds(100 + random() % 400), "HTTP/1.1");
  }

  std::atomic<int> requests_ = 0, taken_ = 0, refused_ = 0, failed_ = 0;
};

TEST_F(EverythingTest, TenMinutesOfEverything) {
  if (!is_full()) GTEST_SKIP() << "only with CRIA_TEST_FULL=1: it takes a minute, or CRIA_TEST_SECONDS";
  const TinyModel model;
  model_path_ = model.path();
  cache_positions_ = 320;  // too few for all slots, so that texts must give way
  start({.max_body_bytes = kMostBodyBytes, .max_connections = 32, .max_tokens = kMostTokens, .request_seconds = 2}, 4,
        {.max_queue = 8});
  std::vector<std::thread> clients;
  for (unsigned i = 0; i < kClients; ++i) clients.emplace_back([this, i] { run_client(i); });
  for (std::thread& client : clients) client.join();
  std::cout << fmt::format("{} requests: {} answered, {} refused, {} connections closed by the server\n",
                           requests_.load(), taken_.load(), refused_.load(), failed_.load());
  EXPECT_GT(taken_, requests_ / 10) << "hardly any request was right";
  EXPECT_GT(refused_, requests_ / 10) << "hardly any request was wrong";
  EXPECT_LT(failed_, requests_ / 10);
  expect_nothing_is_left();
  EXPECT_EQ(post("/v1/completions", Json{{"prompt", "Once"}, {"max_tokens", 2}}).status, 200);
}

}  // namespace
}  // namespace cria::server
