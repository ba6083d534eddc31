// A server whose device is lost: clients are told, and the next one is answered as if nothing had been.
#include <future>

#include "gpu/faults.h"
#include "server/serve.h"
#include "server/server_fixture.h"

namespace cria::server {
namespace {

using std::chrono::seconds;

constexpr const char* kPlug = "the device was lost: the test pulled the plug";

Json text_body(const Json& more = Json::object()) {
  Json body = {{"prompt", "Once upon a time"}, {"max_tokens", 8}, {"temperature", 0}, {"repetition_penalty", 1}};
  body.update(more);
  return body;
}
constexpr const char* kText = ", there was a little girl named Lily";

class LossTest : public ServerTest {
 protected:
  void TearDown() override {
    gpu::faults::lose_device_at(0);
    gpu::faults::refuse_buffer(0);
    ServerTest::TearDown();
  }

  void expect_answers() const {
    const Reply reply = post("/v1/completions", text_body());
    ASSERT_EQ(reply.status, 200) << reply.text;
    EXPECT_EQ(reply.json.at("choices").at(0).at("text"), kText);
  }
};

TEST_F(LossTest, RequestsUnderWayAreToldAndTheNextIsAnswered) {
  std::promise<void> is_lost;
  std::promise<void> may_load;
  start({}, 2, {.on_device_loss = [&](const Error&) {
          is_lost.set_value();
          may_load.get_future().wait();
        }});
  expect_answers();
  const std::string body = text_body({{"max_tokens", 200}, {"stream", true}}).dump();
  RawClient stream(server_->port());
  ASSERT_TRUE(
      stream.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  "Content-Length: " +
                  std::to_string(body.size()) + "\r\n\r\n" + body));
  std::string events = stream.receive(seconds(30), "data: ");
  std::future<Reply> whole =
      std::async(std::launch::async, [&] { return post("/v1/completions", text_body({{"max_tokens", 200}})); });
  while (scheduler_->state().busy_slots < 2) std::this_thread::yield();
  gpu::faults::lose_device_at(1);

  expect_refused(whole.get(), 503, kPlug);
  events += stream.receive(seconds(30), "}}");
  EXPECT_NE(events.find("data: {\"error\":"), std::string::npos) << events;
  EXPECT_NE(events.find(kPlug), std::string::npos) << events;
  is_lost.get_future().wait();
  EXPECT_EQ(get("/health").status, 200) << "the process is well";
  EXPECT_EQ(get("/ready").status, 503);
  EXPECT_EQ(get("/ready").json.at("status"), "device lost: loading the model again");
  EXPECT_NE(get("/metrics").text.find("\ncria_device_loading 1\n"), std::string::npos);
  std::future<Reply> waiting = std::async(std::launch::async, [&] { return post("/v1/completions", text_body()); });
  while (scheduler_->state().queued == 0) std::this_thread::yield();
  may_load.set_value();

  EXPECT_EQ(waiting.get().json.at("choices").at(0).at("text"), kText);
  expect_answers();
  EXPECT_EQ(get("/ready").status, 200);
  const std::string metrics = get("/metrics").text;
  EXPECT_NE(metrics.find("\ncria_gpu_losses_total 1\n"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("\ncria_device_loading 0\n"), std::string::npos) << metrics;
}

TEST_F(LossTest, TheThirdWithinAMinuteEndsTheServer) {
  create();
  std::future<Status> served = std::async(std::launch::async, [&] { return serve(*server_, *scheduler_, seconds(1)); });
  for (int loss = 0; loss < 3; ++loss) {
    while (get("/ready").status != 200) std::this_thread::yield();  // loading submits work too
    gpu::faults::lose_device_at(1);
    expect_refused(post("/v1/completions", text_body()), 503, kPlug);
  }
  const Status status = served.get();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message().find("the device was lost 3 times within 60 s, the last time: "),
            std::string::npos)
      << status.error().message();
  EXPECT_EQ(get("/health").status, -1) << "nobody listens any more";
}

TEST_F(LossTest, LoadingAgainWithoutMemoryEndsTheServerWithASentence) {
  create({}, 2, {.on_device_loss = [](const Error&) { gpu::faults::refuse_buffer(20); }});
  std::future<Status> served = std::async(std::launch::async, [&] { return serve(*server_, *scheduler_, seconds(1)); });
  gpu::faults::lose_device_at(1);
  expect_refused(post("/v1/completions", text_body()), 503, kPlug);
  const Status status = served.get();
  ASSERT_FALSE(status);
  const std::string message = status.error().message();
  EXPECT_NE(message.find("refused to allocate"), std::string::npos) << message;
  EXPECT_NE(message.find("while opening the device again after it was lost"), std::string::npos) << message;
}

}  // namespace
}  // namespace cria::server
