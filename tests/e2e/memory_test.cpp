// --memory-budget: what is chosen to fit, what does not fit at all, and that where layers lie does not change the text.
#include "e2e/expect.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

std::vector<std::string> with_budget(std::string_view command, const std::string& budget,
                                     const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {std::string(command), default_model_path().string()};
  if (!budget.empty()) arguments.insert(arguments.end(), {"--memory-budget", budget});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Json fit(const std::string& budget, const std::vector<std::string>& more) {
  std::vector<std::string> flags = {"--dry-run-fit", "--json"};
  flags.insert(flags.end(), more.begin(), more.end());
  return json_of(run(with_budget("run", budget, flags)));
}

TEST(MemoryBudget, LayersInHostMemoryMakeTheSameText) {
  const std::vector<std::string> fixed = {"--prompt",       "Once upon a time",
                                          "--max-tokens",   "40",
                                          "--temperature",  "0",
                                          "--weights",      "f16",
                                          "--kv-type",      "f16",
                                          "--max-context",  "1024",
                                          "--batch-tokens", "32",
                                          "--json"};
  const Json plain = json_of(run(with_budget("run", "", fixed)));
  for (const char* budget : {"20M", "18000000"}) {
    SCOPED_TRACE(budget);
    const Outcome outcome = run(with_budget("run", budget, fixed));
    expect_success(outcome);
    EXPECT_EQ(json_of(outcome).at("text"), plain.at("text"));
    expect_holds(outcome.err, "lie in memory of the host");
  }
}

TEST(MemoryBudget, WhatIsLeftOpenIsChosenToFit) {
  const Json roomy = fit("1GiB", {});
  EXPECT_EQ(roomy.at("weights"), "auto");
  EXPECT_EQ(roomy.at("max_context"), 1024);
  EXPECT_EQ(roomy.at("streamed_layers"), 0);
  const Json tight = fit("24MiB", {});
  EXPECT_EQ(tight.at("weights"), "int8");
  EXPECT_LE(tight.at("total_bytes").get<uint64_t>(), 24U << 20);
  // What was given stays.
  const Json given = fit("24MiB", {"--weights", "f16"});
  EXPECT_EQ(given.at("weights"), "f16");
  EXPECT_GT(given.at("streamed_layers"), 0);
  EXPECT_LE(given.at("total_bytes").get<uint64_t>(), 24U << 20);
}

TEST(MemoryBudget, InspectTellsWhatFits) {
  const Json report = json_of(run(with_budget("inspect", "24MiB", {"--fit", "--json"})));
  EXPECT_EQ(report.at("best").at("budget_bytes"), 24U << 20);
  EXPECT_EQ(report.at("best").at("fit").at("weights"), "int8");
  bool some_fit = false;
  bool some_do_not = false;
  for (const Json& row : report.at("memory")) {
    some_fit = some_fit || row.at("fits").get<bool>();
    some_do_not = some_do_not || !row.at("fits").get<bool>();
  }
  EXPECT_TRUE(some_fit && some_do_not);
  const Outcome text = run(with_budget("inspect", "24MiB", {"--fit"}));
  expect_success(text);
  expect_holds(text.out, "  too large\n");
  expect_holds(text.out, "\nbest in ");
}

TEST(MemoryBudget, WhatCannotFitOrIsNoNumberIsRefused) {
  expect_refused_silently(run(with_budget("run", "6MiB", {"--prompt", "Hi"})),
                          {"the model does not fit into 6,291,456 bytes: the least that it takes is "});
  expect_refused_silently(run(with_budget("run", "6", {"--prompt", "Hi"})),
                          {"a memory budget of 6 bytes is less than the 4,194,304 that the smallest model needs"});
  for (const char* wrong : {"much", "-5", "1e9", "10XB", "99999999999T"}) {
    SCOPED_TRACE(wrong);
    expect_refused_silently(run(with_budget("run", wrong, {"--prompt", "Hi"})),
                            {fmt::format("\"{}\" is no number of bytes", wrong)});
  }
}

}  // namespace
}  // namespace cria::e2e
