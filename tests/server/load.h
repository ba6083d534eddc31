// Pieces of the tests that ask a server a great deal: random requests, clients that vanish.
#pragma once

#include <cstdlib>
#include <random>

#include "server/parameters.h"
#include "server/server_fixture.h"

namespace cria::server {

inline bool is_full() {
  const char* value = std::getenv("CRIA_TEST_FULL");
  return value != nullptr && std::string_view(value) == "1";
}
inline int size_of(int full, int small) { return is_full() ? full : small; }

inline std::string request(const std::string& body) {
  return "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// Sends a request, or a part of it, waits for an answer, or a part of it, and is gone.
inline void ask_and_vanish(uint16_t port, const std::string& bytes, std::mt19937& random) {
  using std::chrono::milliseconds;
  const size_t head = bytes.find("\r\n\r\n") + 4;
  RawClient client(port);
  switch (random() % 5) {
    case 0: break;                                                                         // says nothing
    case 1: client.send(bytes.substr(0, random() % head)); break;                          // in the head
    case 2: client.send(bytes.substr(0, head + random() % (bytes.size() - head))); break;  // in the body
    case 3: client.send(bytes); break;                                                     // before the answer
    default:                                                                               // in the answer
      client.send(bytes);
      client.receive(milliseconds(random() % 100), "data: ");
      client.receive(milliseconds(random() % 50));
  }
}

/// A body with parameters at random, each with a value that is taken or one that is not; some bodies are damaged.
inline std::string random_body(std::mt19937& random, const std::vector<Parameter>& parameters, bool is_chat) {
  const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
  Json body = Json::object();
  if (is_chat) {
    body["messages"] = Json::array({{{"role", "user"}, {"content", "Hi"}}});
  } else {
    body["prompt"] = "Once upon a time";
  }
  const bool is_tame = chance(60);  // most that hold a wrong value are refused for the first one
  for (const Parameter& parameter : parameters) {
    if (!chance(25)) continue;
    const bool takes = is_tame || chance(80);
    const std::vector<Json>& values = takes || parameter.refused.empty() ? parameter.taken : parameter.refused;
    if (!values.empty()) body[parameter.name] = values[random() % values.size()];
  }
  std::string text = body.dump();
  if (chance(5)) text.resize(random() % text.size());
  if (chance(5) && !text.empty()) text[random() % text.size()] = static_cast<char>(random() % 256);
  return text;
}

class LoadTest : public ServerTest {
 protected:
  /// That are open, the one which asks among them.
  [[nodiscard]] int connections() const {
    constexpr std::string_view kName = "\ncria_connections ";
    const std::string metrics = get("/metrics").text;
    const size_t at = metrics.find(kName);
    return at == std::string::npos ? 0 : std::atoi(metrics.c_str() + at + kName.size());
  }

  void expect_nothing_is_left() const {
    expect_idle_soon();
    const auto deadline = Clock::now() + std::chrono::seconds(20);
    while (scheduler_->state().busy_pages > 0 && Clock::now() < deadline) std::this_thread::yield();
    const engine::SchedulerState state = scheduler_->state();
    EXPECT_EQ(state.busy_pages, 0U);
    EXPECT_EQ(state.preempted, 0U);
    EXPECT_EQ(state.spilled_bytes, 0U);
  }
};

}  // namespace cria::server
