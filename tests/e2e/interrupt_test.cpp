// Ctrl-C, and a reader of the text that goes away.
#include "e2e/expect.h"
#include "text/unicode.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

TEST(Interrupt, EndsTheTextWithTheSummary) {
  const std::string prompt = "Once upon a time";
  Program program(Launch{.arguments = {"run", default_model_path().string(), "--prompt", prompt, "--max-tokens", "1000",
                                       "--ignore-eos", "--seed", "1"}});
  // The text streams: some of it is there long before the thousandth token.
  ASSERT_TRUE(program.wait_for_output(prompt.size() + 10)) << program.err();
  program.send(SIGINT);
  const Outcome outcome = program.wait();
  expect_success(outcome);
  expect_holds(outcome.err, "\n  stopped   interrupted\n");
  expect_holds(outcome.err, "\n  device    ");
  EXPECT_TRUE(outcome.out.starts_with(prompt));
  EXPECT_TRUE(outcome.out.ends_with("\n"));
  EXPECT_FALSE(text::find_invalid_utf8(outcome.out));
}

TEST(Interrupt, TheSecondEndsTheProcess) {
  // The prompt does not fit the pipe and nobody reads on: the program cannot come to its end by itself.
  const TinyModel tiny;
  Program program(Launch{.arguments = {"run", tiny.path().string(), "--max-context", "20000", "--max-tokens", "1"},
                         .input = std::string(5000, '?'),
                         .pipe_bytes = 4096});
  ASSERT_TRUE(program.wait_for_output(0)) << program.err();
  program.send(SIGINT);  // two kinds, because two of one kind may become one
  program.send(SIGTERM);
  const Outcome outcome = program.wait();
  EXPECT_TRUE(outcome.signal == SIGINT || outcome.signal == SIGTERM) << "exit code " << outcome.exit_code;
  EXPECT_EQ(occurrences(outcome.err, "stopped"), 0U) << outcome.err;
}

TEST(ClosedOutput, IsASentence) {
  const TinyModel tiny;
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"run", tiny.path().string(), "--prompt", "a", "--max-tokens", "2"},
        {"tokenize", tiny.path().string(), "--text", "a"},
        {"inspect", tiny.path().string()},
        {"devices", "--json"}}) {
    SCOPED_TRACE(arguments[0]);
    Program program(Launch{.arguments = arguments});
    program.close_output();
    expect_refused(program.wait(), {"cannot be written to standard output: Broken pipe"});
  }
}

}  // namespace
}  // namespace cria::e2e
