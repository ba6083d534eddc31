// Flags and commands that make no sense are refused with the value and the limits, before anything is loaded.
#include "e2e/expect.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

struct Case {
  std::vector<std::string> flags;
  const char* phrase;
};

TEST(Flags, OfRunAreRefusedWithTheirLimits) {
  const Case cases[] = {
      {{"--max-tokens", "-1"}, "--max-tokens: \"-1\" is not a whole number from 0 to 4294967295"},
      {{"--max-tokens", "4294967296"}, "is not a whole number from 0 to 4294967295"},
      {{"--max-tokens", "ten"}, "\"ten\" is not a whole number"},
      {{"--max-tokens", "1.5"}, "\"1.5\" is not a whole number"},
      {{"--max-tokens", ""}, "\"\" is not a whole number"},
      {{"--max-tokens"}, "--max-tokens"},
      {{"--max-context", "0"}, "--max-context: \"0\" is not a whole number from 1 to 16777216"},
      {{"--max-context", "16777217"}, "from 1 to 16777216"},
      {{"--batch-tokens", "0"}, "--batch-tokens: \"0\" is not a whole number from 1 to 4096"},
      {{"--temperature", "-0.1"}, "--temperature: \"-0.1\" is not a number from 0 to 100"},
      {{"--temperature", "100.1"}, "is not a number from 0 to 100"},
      {{"--temperature", "nan"}, "\"nan\" is not a number from 0 to 100"},
      {{"--temperature", "inf"}, "\"inf\" is not a number from 0 to 100"},
      {{"--temperature", "warm"}, "\"warm\" is not a number from 0 to 100"},
      {{"--top-k", "-1"}, "--top-k: \"-1\" is not a whole number"},
      {{"--top-p", "1.1"}, "--top-p: \"1.1\" is not a number from 0 to 1"},
      {{"--top-p", "0"}, "top_p is 0: it must be above 0 and at most 1"},
      {{"--min-p", "2"}, "--min-p: \"2\" is not a number from 0 to 1"},
      {{"--repetition-penalty", "0"}, "repetition_penalty is 0: it must be above 0 and at most 100"},
      {{"--repetition-penalty", "1e9"}, "\"1e9\" is not a number from 0 to 100"},
      {{"--seed", "-1"}, "--seed: \"-1\" is not a whole number from 0 to 18446744073709551615"},
      {{"--seed", "18446744073709551616"}, "is not a whole number from 0 to 18446744073709551615"},
      {{"--weights", "int3"},
       "there is no weight type \"int3\": the types are auto, f32, f16, bf16, int8, int4, q4_k, "
       "q5_k and q6_k"},
      {{"--weight-block", "48"}, "--weight-block"},
      {{"--weights", "f32", "--f16-weights"}, "--weights excludes --f16-weights"},
      {{"--kv-type", "int3"}, "there is no KV type \"int3\": the types are auto, f32, f16 and int8"},
      {{"--disable", "magic"}, "there is no feature \"magic\": the features are f16, subgroups"},
      {{"--limit-binding", "0"}, "--limit-binding: \"0\" is not a whole number from 1"},
      {{"--presence-penalty", "2.1"}, "\"2.1\" is not a number from -2 to 2"},
      {{"--frequency-penalty", "x"}, "\"x\" is not a number from -2 to 2"},
      {{"--logit-bias", "5"}, "\"5\" is no ID=VALUE"},
      {{"--logit-bias", "5=101"}, "VALUE from -100 to 100"},
      {{"--logit-bias", "-1=1"}, "\"-1=1\" is no ID=VALUE"},
      {{"--logit-bias", "5=nan"}, "\"5=nan\" is no ID=VALUE"},
      {{"--logit-bias", "5=1", "--logit-bias", "5-1"}, "logit_bias names the token 5 twice"},
      {{"--magic"}, "--magic"},
      {{"--prompt-file", "no/such/file"}, "no/such/file: cannot be opened: No such file or directory"},
      {{"--prompt-file", "/"}, "/: cannot be read: Is a directory"},
      {{"--prompt", "a", "--prompt-file", "b"}, "--prompt and --prompt-file were both given"},
      {{"another", "argument"}, "argument"},
  };
  for (const Case& test : cases) {
    std::vector<std::string> arguments = {"run", "no/such/model"};
    arguments.insert(arguments.end(), test.flags.begin(), test.flags.end());
    SCOPED_TRACE(testing::PrintToString(test.flags));
    expect_refused_silently(run(arguments), {test.phrase});
  }
}

TEST(Flags, OfDevicesAreRefusedWithWhatThereIs) {
  const TinyModel tiny;
  const std::string model = tiny.path().string();
  expect_refused_silently(run({"run", model, "--prompt", "a", "--device", "99"}),
                          {"no device matches \"99\": there is 0 ("});
  expect_refused_silently(run({"inspect", model, "--device", "voodoo"}),
                          {"no device matches \"voodoo\": there is 0 ("});
  expect_refused_silently(run({"inspect", model, "--limit-binding", "5"}),
                          {"the binding limit is 5 bytes, outside 16,384 to "});
}

TEST(Flags, CommandsAreRefusedByName) {
  expect_refused_silently(run(std::vector<std::string>{}),
                          {"no command was given; the commands are run, chat, serve, devices, inspect, tokenize"});
  expect_refused_silently(run({"fly"}), {"fly"});
  expect_refused_silently(run({"inspect", "--kv-type", "int3"}), {"there is no KV type \"int3\""});
  expect_refused_silently(run({"tokenize", "--decode", "-1"}), {"\"-1\" is not a whole number"});
}

TEST(Flags, HelpGoesToStandardOutput) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"},
                                                    {"run", "--help"},
                                                    {"devices", "--help"},
                                                    {"inspect", "--help"},
                                                    {"tokenize", "--help"}}) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    const Outcome outcome = run(arguments);
    expect_success(outcome);
    expect_holds(outcome.out, "--help");
    EXPECT_EQ(outcome.err, "");
  }
  const std::string help = run({"run", "--help"}).out;
  for (const char* flag : {"--model-dir",
                           "--prompt",
                           "--prompt-file",
                           "--max-tokens",
                           "--max-context",
                           "--f16-weights",
                           "--dry-run-fit",
                           "--temperature",
                           "--top-k",
                           "--top-p",
                           "--min-p",
                           "--repetition-penalty",
                           "--presence-penalty",
                           "--frequency-penalty",
                           "--logit-bias",
                           "--seed",
                           "--device",
                           "--disable",
                           "--limit-binding",
                           "--profile",
                           "--json"}) {
    expect_holds(help, flag);
  }
  const Outcome version = run({"--version"});
  expect_success(version);
  EXPECT_TRUE(version.out.starts_with("cria ")) << version.out;
}

}  // namespace
}  // namespace cria::e2e
