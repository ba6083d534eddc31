// Many requests, many clients, for longer than it is pleasant to wait: random requests, clients that vanish, clients
// that dawdle, large batches. CRIA_TEST_FULL=1 runs each at its full size, else a small part of it.
#include <fstream>
#include <numeric>

#include "server/load.h"

namespace cria::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Clients after which what a sanitizer keeps of freed memory, 256 MB, no longer grows.
#if defined(__SANITIZE_ADDRESS__)
constexpr int kLeastClientsBefore = 300;
#else
constexpr int kLeastClientsBefore = 0;
#endif

/// Memory of this process that is in use.
uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t whole = 0;
  uint64_t resident = 0;
  file >> whole >> resident;
  return resident * 4096;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

TEST_F(LoadTest, RandomRequestsAreAnsweredOrRefused) {
  constexpr int kClients = 4;
  const int requests = size_of(10'000, 200);
  const TinyModel model;  // what is taken should cost little
  model_path_ = model.path();
  start({.max_tokens = 3}, kClients);
  const std::vector<Parameter> table = parameters();
  std::atomic<int> taken = 0;
  std::atomic<int> refused = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      httplib::Client connection = client();
      connection.set_keep_alive(true);
      for (int number = i; number < requests; number += kClients) {
        std::mt19937 random(static_cast<unsigned>(number));
        const bool is_chat = random() % 2 == 0;
        const std::string body = random_body(random, table, is_chat);
        const auto reply =
            connection.Post(is_chat ? "/v1/chat/completions" : "/v1/completions", body, "application/json");
        const int status = reply ? reply->status : -1;
        ++(status == 200 ? taken : refused);
        EXPECT_TRUE(status == 200 || (status >= 400 && status < 500))
            << "status " << status << " of the request " << number << " (its seed): " << body << " "
            << (reply ? reply->body : httplib::to_string(reply.error()));
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(taken, requests / 10) << "hardly any request was right";
  EXPECT_GT(refused, requests / 10) << "hardly any request was wrong";
  expect_nothing_is_left();
}

TEST_F(LoadTest, ClientsThatVanishLeaveNothingBehind) {
  const int count = size_of(1000, 60);
  start({}, 4);
  const std::string streaming =
      request(R"({"prompt":"Once upon a time","max_tokens":200,"stream":true,"temperature":0})");
  const std::string whole = request(R"({"prompt":"The dog","max_tokens":200,"temperature":0,"n":2})");
  const auto vanish = [&](int number) {
    std::mt19937 random(static_cast<unsigned>(number));
    ask_and_vanish(server_->port(), random() % 2 == 0 ? streaming : whole, random);
  };
  const int before = std::max(count / 5, kLeastClientsBefore);  // until caches and pools have their size
  for (int i = 0; i < before; ++i) vanish(i);
  expect_nothing_is_left();
  const uint64_t bytes = resident_bytes();
  for (int i = before; i < before + count; ++i) vanish(i);
  expect_nothing_is_left();
  const uint64_t now = resident_bytes();
  const uint64_t grown = now - std::min(bytes, now);
  RecordProperty("grown_kib", static_cast<int>(grown / 1024));
  EXPECT_LT(grown, 16U << 20U);
  EXPECT_EQ(post("/v1/completions", Json{{"prompt", "Once"}, {"max_tokens", 2}}).status, 200);
  expect_nothing_is_left();
}

/// Clients that send a byte of a request each second.
class Dawdlers {
 public:
  Dawdlers(uint16_t port, int count) {
    for (int i = 0; i < count; ++i) clients_.push_back(std::make_unique<RawClient>(port));
    thread_ = std::thread([this] { dawdle(); });
  }
  ~Dawdlers() {
    has_ended_ = true;
    thread_.join();
  }
  Dawdlers(const Dawdlers&) = delete;
  Dawdlers& operator=(const Dawdlers&) = delete;

 private:
  void dawdle() {
    const std::string bytes = request(R"({"prompt":"Once upon a time","max_tokens":1})");
    auto next = std::chrono::steady_clock::now();
    for (size_t at = 0; !has_ended_; ++at) {
      for (const auto& client : clients_) client->send(bytes.substr(at % bytes.size(), 1));
      next += seconds(1);
      while (!has_ended_ && std::chrono::steady_clock::now() < next) std::this_thread::sleep_for(milliseconds(5));
    }
  }
  std::vector<std::unique_ptr<RawClient>> clients_;
  std::atomic<bool> has_ended_ = false;
  std::thread thread_;
};

/// With and without them in turn, so that what else the machine does meets both; the medians are compared.
TEST_F(LoadTest, ClientsThatDawdleDoNotSlowOthers) {
  constexpr int kDawdlers = 256;
  const int rounds = size_of(9, 1);
  start();
  const Json body = {
      {"prompt", "Once upon a time"}, {"max_tokens", size_of(100, 40)}, {"temperature", 0}, {"ignore_eos", true}};
  const auto measure = [&] {
    const auto begin = Clock::now();
    EXPECT_EQ(post("/v1/completions", body).status, 200);
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  measure();
  std::vector<double> alone;
  std::vector<double> beside;
  for (int round = 0; round < rounds; ++round) {
    alone.push_back(measure());
    const Dawdlers dawdlers(server_->port(), kDawdlers);
    const auto deadline = Clock::now() + seconds(20);
    while (connections() < kDawdlers && Clock::now() < deadline) {
    }
    ASSERT_GE(connections(), kDawdlers) << "not all of them were let in";
    beside.push_back(measure());
  }
  const double ratio = median(beside) / median(alone);
  RecordProperty("ratio",
                 fmt::format("{:.3f} ({:.3f} s beside them, {:.3f} s alone)", ratio, median(beside), median(alone)));
  // A few short runs on a busy machine differ by more than what is looked for.
  EXPECT_LT(ratio, is_full() ? 1.10 : 1.5);
}

/// What the logits of one text may differ by between passes of other sizes: docs/server.md.
constexpr double kLogitRounding = 0.002;

TEST_F(LoadTest, GreedyAnswersAreTheSameAloneAndAmong32) {
  constexpr int kTexts = 32;
  const int tokens = size_of(60, 3);
  start({.max_connections = 64}, kTexts);
  const std::vector<std::string> subjects = {"Once upon a time", "The dog",   "A big red ball", "Lily and Tom",
                                             "One day",          "There was", "In the park",    "The little cat"};
  const std::vector<std::string> verbs = {" went to the", " was very", " wanted a", " and the"};
  const auto ask = [&](int text) {
    const auto at = static_cast<size_t>(text);
    const Json body = {{"prompt", subjects[at % 8] + verbs[at / 8]},
                       {"max_tokens", tokens},
                       {"temperature", 0},
                       {"repetition_penalty", 1},
                       {"logprobs", 2},
                       {"ignore_eos", true}};
    const Reply reply = post("/v1/completions", body);
    EXPECT_EQ(reply.status, 200) << reply.text;
    return reply.json.at("choices").at(0).at("logprobs");
  };
  std::vector<Json> alone;
  for (int text = 0; text < kTexts; ++text) alone.push_back(ask(text));
  std::vector<Json> together(kTexts);
  std::vector<std::thread> clients;
  for (int text = 0; text < kTexts; ++text) {
    clients.emplace_back([&, text] { together[static_cast<size_t>(text)] = ask(text); });
  }
  for (std::thread& client : clients) client.join();
  int same = 0;
  double most = 0;
  for (size_t text = 0; text < kTexts; ++text) {
    SCOPED_TRACE(text);
    const Json& names = alone[text].at("tokens");
    size_t at = 0;
    while (at < names.size() && names.at(at) == together[text].at("tokens").at(at)) {
      const double difference = alone[text].at("token_logprobs").at(at).get<double>() -
                                together[text].at("token_logprobs").at(at).get<double>();
      most = std::max(most, std::abs(difference));
      ++at;
    }
    if (at == names.size()) {
      ++same;
      continue;
    }
    std::vector<double> top;
    for (const auto& [name, value] : alone[text].at("top_logprobs").at(at).items()) top.push_back(value);
    std::ranges::sort(top, std::greater());
    ASSERT_GE(top.size(), 2U);
    EXPECT_LE(top[0] - top[1], 2 * kLogitRounding) << "token " << at << " was not a matter of rounding";
  }
  RecordProperty("same", same);
  RecordProperty("logprobs_differ_by", fmt::format("{:.2g}", most));
  EXPECT_LE(most, 2 * kLogitRounding);
  EXPECT_GE(same, kTexts * 3 / 4) << "texts whose tokens are far apart must be rare";
}

}  // namespace
}  // namespace cria::server
