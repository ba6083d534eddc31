// `cria serve` as a program: its address on stdout, signals, refusals. tests/server goes into the API.
#include "e2e/expect.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

TEST(Serve, TellsItsAddressAndEndsOnASignal) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Program program(Launch{.arguments = {"serve", default_model_path().string(), "--port", "0", "--slots", "1"}});
    ASSERT_TRUE(program.wait_for_output(std::string_view("http://127.0.0.1:").size())) << program.err();
    program.send(signal);
    const Outcome outcome = program.wait();
    expect_success(outcome);
    EXPECT_TRUE(outcome.out.starts_with("http://127.0.0.1:")) << outcome.out;
    EXPECT_EQ(occurrences(outcome.out, "\n"), 1U);
    expect_holds(outcome.err, "the model has no chat template: /v1/chat/completions is refused");
    expect_holds(outcome.err, "shutting down");
  }
}

TEST(Serve, RefusesWhatIsUnsafeOrCannotBe) {
  const std::string model = default_model_path().string();
  expect_refused_silently(run({"serve", model, "--host", "0.0.0.0"}), {"can be reached by others", "--api-key"});
  const Outcome secret = run({"serve", model, "--api-key", "two words"});
  expect_refused_silently(secret, {"the API key holds a blank"});
  EXPECT_EQ(secret.err.find("two words"), std::string::npos);
  expect_refused_silently(run({"serve", model, "--port", "65536"}), {"--port", "0 to 65535"});
  expect_refused_silently(run({"serve", model, "--host", "203.0.113.1", "--api-key", "k", "--port", "0"}),
                          {"203.0.113.1:0 cannot be listened on"});
  expect_refused_silently(run({"serve", model, "--template", "/no/such"}), {"/no/such: cannot be opened"});
}

}  // namespace
}  // namespace cria::e2e
