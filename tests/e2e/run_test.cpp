// `cria run`: text on stdout as it is made, everything else on stderr, a summary at the end.
#include <limits>

#include "e2e/expect.h"
#include "sparse_model.h"
#include "text/unicode.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

constexpr const char* kPrompt = "Once upon a time";

std::vector<std::string> run_default(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"run", default_model_path().string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

/// Every line of the summary.
void expect_summary(const std::string& err, std::string_view stop_reason) {
  for (const char* row :
       {"\n  device    ", "\n  memory    weights ", ", KV cache ", ", scratch ", "\n  load      ", "\n  prompt    ",
        " tokens, first token after ", "\n  decode    ", " tokens/s\n", "\n  seed      "}) {
    expect_holds(err, row);
  }
  expect_holds(err, "\n  stopped   " + std::string(stop_reason) + "\n");
}

TEST(Run, AllWaysToGiveThePromptMakeTheSameText) {
  // The folder's name must not matter; nor the way that the prompt comes.
  const TinyModel tiny("모델 mit Leerzeichen");
  tiny.write("prompt.txt", "a prompt\nof two lines");
  const std::vector<std::string> common = {"run", tiny.path().string(), "--max-tokens", "12", "--seed",
                                           "7",   "--temperature",      "1.5"};
  const auto with = [&](std::vector<std::string> more, const std::string& input) {
    more.insert(more.begin(), common.begin(), common.end());
    const Outcome outcome = run(Launch{.arguments = more, .input = input});
    expect_success(outcome);
    expect_summary(outcome.err, "token limit reached");
    return outcome.out;
  };
  const std::string text = with({"--prompt", "a prompt\nof two lines"}, "");
  EXPECT_TRUE(text.starts_with("a prompt\nof two lines")) << text;
  EXPECT_TRUE(text.ends_with("\n"));
  EXPECT_FALSE(text::find_invalid_utf8(text)) << "a random model writes random bytes, and they must not come out";
  EXPECT_EQ(with({}, "a prompt\nof two lines"), text) << "from a pipe";
  EXPECT_EQ(with({"--prompt-file", (tiny.path() / "prompt.txt").string()}, "not read"), text) << "from a file";
}

TEST(Run, AnotherSeedMakesAnotherText) {
  const auto with_seed = [](const char* seed) {
    const Outcome outcome = run(run_default({"--prompt", kPrompt, "-n", "12", "--temperature", "1.5", "--seed", seed}));
    expect_success(outcome);
    expect_holds(outcome.err, "\n  seed      " + std::string(seed) + "\n");
    return outcome.out;
  };
  EXPECT_NE(with_seed("7"), with_seed("18446744073709551615"));
}

TEST(Run, WithoutAnyFeatureTheTextIsTheReferences) {
  const Outcome outcome =
      run(run_default({"--prompt", kPrompt, "--max-tokens", "8", "--temperature", "0", "--repetition-penalty", "1",
                       "--disable", "f16,subgroups,subgroup-matrix,timestamps,immediates", "--profile", "--device", "0",
                       "--limit-binding", "300000"}));
  expect_success(outcome);
  EXPECT_EQ(outcome.out.substr(0, 36), "Once upon a time, there was a little") << outcome.out;
  expect_holds(outcome.err, "has no timestamps: there is no profile");
}

TEST(Run, JsonHoldsTextFiguresAndProfile) {
  const Outcome outcome = run(run_default({"--prompt", kPrompt, "--max-tokens", "6", "--temperature", "0",
                                           "--repetition-penalty", "1", "--f16-weights", "--json", "--profile"}));
  expect_success(outcome);
  const Json report = json_of(outcome);
  EXPECT_EQ(report.at("prompt"), kPrompt);
  EXPECT_TRUE(report.at("text").get<std::string>().starts_with(", there was a")) << report.at("text");
  EXPECT_EQ(report.at("stop_reason"), "token limit reached");
  EXPECT_EQ(report.at("prompt_tokens"), 5);
  EXPECT_EQ(report.at("generated_tokens"), 6);
  EXPECT_TRUE(report.at("device").is_string());
  EXPECT_EQ(report.at("model"), default_model_path().string());
  EXPECT_TRUE(report.at("seed").is_number_unsigned());
  for (const char* kind : {"weight_bytes", "kv_bytes", "scratch_bytes"}) {
    EXPECT_GT(report.at("memory").at(kind), 100'000) << kind;
  }
  for (const char* figure :
       {"load_seconds", "time_to_first_token_seconds", "prefill_tokens_per_second", "decode_tokens_per_second"}) {
    EXPECT_GT(report.at(figure), 0.0) << figure;
  }

  if (!report.contains("profile")) GTEST_SKIP() << "this device has no timestamps";
  // The parts make the whole, and the whole is no more than the time that passed.
  const Json& profile = report.at("profile");
  double sum = 0;
  for (const Json& kernel : profile.at("kernels")) {
    EXPECT_GT(kernel.at("calls"), 0) << kernel;
    sum += kernel.at("nanoseconds").get<double>();
  }
  const auto whole = profile.at("gpu_nanoseconds").get<double>();
  EXPECT_GT(whole, 0);
  EXPECT_NEAR(sum / whole, 1, 0.03);
  const double decode_seconds = 5 / report.at("decode_tokens_per_second").get<double>();
  EXPECT_LT(whole / 1e9, report.at("time_to_first_token_seconds").get<double>() + decode_seconds);
}

TEST(Run, ProfileIsATableOnStandardError) {
  const TinyModel tiny;
  const Outcome outcome = run({"run", tiny.path().string(), "--prompt", "a", "--max-tokens", "3", "--profile"});
  expect_success(outcome);
  expect_summary(outcome.err, "token limit reached");
  if (occurrences(outcome.err, "has no timestamps") > 0) GTEST_SKIP() << "this device has no timestamps";
  expect_holds(outcome.err, "\n  kernel ");
  expect_holds(outcome.err, "rms_norm");
  expect_holds(outcome.err, "GPU time of all steps");
  EXPECT_EQ(occurrences(outcome.out, "kernel"), 0U);
}

TEST(Run, NoTokensAreATextToo) {
  const Outcome outcome = run(run_default({"--prompt", "", "--max-tokens", "0"}));
  expect_success(outcome);
  EXPECT_EQ(outcome.out, "\n");
  expect_summary(outcome.err, "token limit reached");
}

TEST(Run, AKoreanPromptIsPrintedOnce) {
  // Its tokenizer spells Hangul in byte tokens, which decoders hold back as one run.
  const Outcome outcome = run(run_default({"--prompt", "안녕하세요", "--max-tokens", "4", "--temperature", "0"}));
  expect_success(outcome);
  EXPECT_TRUE(outcome.out.starts_with("안녕하세요")) << outcome.out;
  EXPECT_EQ(occurrences(outcome.out, "안녕"), 1U) << outcome.out;
  EXPECT_FALSE(text::find_invalid_utf8(outcome.out));
}

TEST(Run, AFullContextEndsTheText) {
  const TinyModel tiny;
  const Outcome outcome = run({"run", tiny.path().string(), "--prompt", "abcdef", "--max-context", "16", "--json",
                               "--ignore-eos", "--no-special-tokens"});
  expect_success(outcome);
  const Json report = json_of(outcome);
  EXPECT_EQ(report.at("stop_reason"), "context full");
  const uint64_t prompt_tokens = report.at("prompt_tokens");
  EXPECT_EQ(report.at("generated_tokens"), 17 - prompt_tokens) << "16 are read, and the last needs no room";
}

TEST(Run, APromptLongerThanTheContextIsRefused) {
  const TinyModel tiny;
  const Outcome outcome =
      run(Launch{.arguments = {"run", tiny.path().string(), "--max-context", "16"}, .input = std::string(100, '?')});
  expect_refused_silently(outcome, {"the prompt has ", " tokens, more than the context of 16"});
}

TEST(Run, PromptsThatAreNoTextAreRefused) {
  const TinyModel tiny;
  tiny.copy("tokenizer.json", "tests/golden/tokenizers/gpt2-digits-prefix/tokenizer.json");  // adds no special tokens
  expect_refused_silently(run({"run", tiny.path().string(), "--prompt", "ab\xff"}), {"UTF-8", "2"});
  expect_refused_silently(run({"run", tiny.path().string()}), {"the prompt is empty"});
}

TEST(Run, NumbersThatAreNotFiniteEndTheGenerationWithAnError) {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const TinyModel tiny;
    tiny.poison("model.norm.weight", value);
    const Outcome outcome = run({"run", tiny.path().string(), "--prompt", "the prompt", "--max-tokens", "5"});
    expect_refused(outcome, {"the model produced NaN or infinite logits at position "});
    EXPECT_EQ(outcome.out, "the prompt\n") << "nothing was generated";
  }
}

TEST(Run, AModelThatDoesNotFitIsRefusedBeforeItIsRead) {
  const TemporaryFolder folder;
  if (!write_sparse_model(folder, 1U << 22, 1U << 19)) GTEST_SKIP() << "no files of 8 TiB here";
  std::filesystem::copy_file(default_model_path() / "tokenizer.json", folder.path() / "tokenizer.json");
  expect_refused_silently(run({"run", folder.path().string(), "--prompt", "a"}),
                          {"the weights take 8,796,", " bytes", "more than the ", " bytes of ", "while loading"});
  const Outcome fit = run({"run", folder.path().string(), "--dry-run-fit"});
  expect_success(fit);
  expect_holds(fit.out, "\n  total     8.8 TB\n");
}

TEST(Run, DryRunTellsTheMemoryWithoutRunning) {
  const Outcome text = run(run_default({"--dry-run-fit", "--max-context", "100"}));
  expect_success(text);
  for (const char* row :
       {"\n  weights   ", "\n  KV cache  ", " at 100 positions (", "\n  scratch   ", "\n  total     "}) {
    expect_holds(text.out, row);
  }
  const Outcome json = run(run_default({"--dry-run-fit", "--json", "--weights", "f32"}));
  expect_success(json);
  const Json plan = json_of(json);
  EXPECT_EQ(plan.at("kv_type"), "f32");
  EXPECT_EQ(plan.at("max_context"), 1024);
  EXPECT_GT(plan.at("weight_bytes"), 40'000'000) << "11 million parameters of 4 bytes";
  EXPECT_EQ(plan.at("total_bytes").get<uint64_t>(),
            plan.at("weight_bytes").get<uint64_t>() + plan.at("kv_bytes").get<uint64_t>() +
                plan.at("scratch_bytes").get<uint64_t>() + plan.at("working_bytes").get<uint64_t>());
}

}  // namespace
}  // namespace cria::e2e
