// Texts that follow a grammar: alone and among others, greedy and drawn, to their end.
#include "engine/constraint.h"

#include <gtest/gtest.h>

#include "grammar/json_schema.h"
#include "scheduler_fixture.h"

namespace cria::engine {
namespace {

std::shared_ptr<const grammar::Grammar> parsed(std::string_view text) {
  return std::make_shared<const grammar::Grammar>(grammar::Grammar::parse(text, "grammar").value());
}

constexpr const char* kList = R"(root ::= "<" item ("," item){1,4} ">"
item ::= "\"" [a-zé]{0,6} "\"" | [1-9] [0-9]{0,3} | root)";

bool fits(const std::shared_ptr<const grammar::Grammar>& grammar, std::string_view text) {
  grammar::Machine machine(grammar);
  return machine.may_end(machine.step_over(machine.start(), text));
}

/// A model of random weights, which by itself would write nothing that fits.
class ConstraintTest : public SchedulerFixture {
 protected:
  void start(uint32_t slots, uint32_t pages = 0, const SchedulerOptions& options = {}) {
    SchedulerFixture::start(slots, options, pages);
    run();
  }
  void TearDown() override {
    SchedulerFixture::TearDown();
    EXPECT_TRUE(run_status_);
  }

  static Job job(uint32_t seed, std::shared_ptr<const grammar::Grammar> grammar) {
    Job job;
    for (uint32_t i = 0; i < 5 + seed % 3 * 20; ++i) job.prompt.push_back((seed + i * 7) % 256);
    job.options.sampling = {
        .temperature = seed % 2 == 0 ? 0.0F : 1.0F, .top_k = 0, .top_p = 1, .repetition_penalty = 1.3F, .seed = seed};
    job.options.max_tokens = 90;
    job.options.grammar = std::move(grammar);
    return job;
  }

  [[nodiscard]] std::string text_of(std::span<const uint32_t> tokens) const {
    return engine_->tokenizer().decode(tokens, false).value();
  }

  Ticket::News alone(const Job& job) {
    auto sequence = Sequence::create(*engine_).value();
    EXPECT_TRUE(sequence.clear());
    Ticket::News outcome;
    auto stats = sequence.generate(job.prompt, job.options, [&](uint32_t token) {
      outcome.tokens.push_back(token);
      return true;
    });
    if (stats) outcome.reason = stats->stop_reason;
    if (!stats) outcome.error = stats.error();
    return outcome;
  }
};

TEST_F(ConstraintTest, TextsFitAndEndWhereTheyAreWhole) {
  start(1);
  finish();
  const auto grammar = parsed(kList);
  int whole = 0;
  for (uint32_t seed = 0; seed < 10; ++seed) {
    const Ticket::News outcome = alone(job(seed, grammar));
    ASSERT_FALSE(outcome.error) << outcome.error->message();
    const std::string text = text_of(outcome.tokens);
    const bool is_whole = outcome.reason == StopReason::kEndOfText;
    EXPECT_EQ(fits(grammar, text), is_whole) << text;
    EXPECT_TRUE(is_whole || outcome.reason == StopReason::kMaxTokens);
    whole += is_whole ? 1 : 0;
  }
  EXPECT_GE(whole, 4);
}

TEST_F(ConstraintTest, AmongOthersTheyAreWhatTheyAreAlone) {
  const auto list = parsed(kList);
  const auto word = parsed("root ::= [a-f]{3,40} \"!\"");
  const auto jobs = [&] {
    return std::vector<Job>{job(1, list), job(2, nullptr), job(3, word), job(4, list), job(5, nullptr), job(6, word)};
  };
  start(1);
  finish();
  std::vector<Ticket::News> right;
  for (const Job& one : jobs()) right.push_back(alone(one));
  // The last one has too few pages for all, so that some give way and go on.
  for (const auto& [slots, pages] : {std::pair(2U, 0U), std::pair(8U, 0U), std::pair(6U, 7U)}) {
    SCOPED_TRACE(fmt::format("{} slots, {} pages", slots, pages));
    start(slots, pages, {.chunk_tokens = 16});
    std::vector<std::shared_ptr<Ticket>> tickets;
    for (Job& one : jobs()) tickets.push_back(scheduler_->submit(std::move(one)).value());
    for (size_t i = 0; i < tickets.size(); ++i) {
      const Ticket::News outcome = all_of(*tickets[i]);
      EXPECT_FALSE(outcome.error);
      EXPECT_EQ(outcome.reason, right[i].reason) << i;
      EXPECT_EQ(outcome.tokens, right[i].tokens) << i << ": " << text_of(outcome.tokens);
    }
    EXPECT_EQ(scheduler_->state().preemptions > 0, pages > 0);
  }
}

TEST_F(ConstraintTest, WhereNoTokenIsAllowedTheErrorSaysBehindWhat) {
  start(2);
  const std::vector<uint32_t> x = engine_->tokenizer().encode("x", {.add_special_tokens = false}).value();
  ASSERT_EQ(x.size(), 1U);
  const auto failing = [&](const char* grammar) {
    Job one = job(2, parsed(grammar));
    one.options.stop_tokens = x;  // is no text any more
    return one;
  };
  for (const auto& [grammar, phrase] :
       {std::pair("root ::= \"x\"", "no token of the vocabulary at the begin of the text"),
        std::pair("root ::= \"a\" \"x\"", "no token of the vocabulary behind \"a\"")}) {
    const Ticket::News served = answer(failing(grammar));
    ASSERT_TRUE(served.error);
    EXPECT_NE(served.error->message().find(phrase), std::string::npos) << served.error->message();
  }
  // The model goes on with others.
  EXPECT_FALSE(answer(job(3, nullptr)).error);
  finish();
  EXPECT_TRUE(alone(failing("root ::= \"a\" \"x\"")).error);
  EXPECT_FALSE(alone(job(3, nullptr)).error);
}

TEST_F(ConstraintTest, StopTokensEndATextWhereItMayEnd) {
  start(2);
  const std::vector<uint32_t> stop = engine_->tokenizer().encode("z", {.add_special_tokens = false}).value();
  Job optional = job(2, parsed("root ::= \"ab\"{0,300}"));
  optional.options.stop_tokens = stop;
  optional.options.sampling.logit_bias = {{.token = stop.front(), .value = 100}};
  const Ticket::News at_once = answer(optional);
  EXPECT_EQ(at_once.reason, StopReason::kEndOfText);
  EXPECT_TRUE(at_once.tokens.empty());
  Job needed = optional;
  needed.options.grammar = parsed("root ::= \"ab\"{3,300}");
  const Ticket::News later = answer(needed);
  EXPECT_EQ(later.reason, StopReason::kEndOfText);
  EXPECT_EQ(text_of(later.tokens), "ababab");
  Job empty = job(2, parsed("root ::= \"\""));
  const Ticket::News nothing = answer(empty);
  EXPECT_EQ(nothing.reason, StopReason::kEndOfText);
  EXPECT_TRUE(nothing.tokens.empty());
  finish();
  EXPECT_EQ(alone(needed).tokens, later.tokens);
  EXPECT_EQ(alone(empty).reason, StopReason::kEndOfText);
}

TEST_F(ConstraintTest, SpecialTokensComeOnlyWhereTheGrammarNamesThem) {
  start(2);
  std::vector<uint32_t> specials;
  for (uint32_t token = 0; token < engine_->tokenizer().vocab_size(); ++token) {
    if (engine_->tokenizer().is_special(token)) specials.push_back(token);
  }
  ASSERT_GE(specials.size(), 2U);
  Job one = job(2, parsed(fmt::format("root ::= .{{3}} <[{}]> .{{3}}", specials[1])));
  for (const uint32_t token : specials) one.options.sampling.logit_bias.push_back({.token = token, .value = 100});
  const std::vector<uint32_t> tokens = answer(one).tokens;
  const auto is_special = [&](uint32_t token) { return engine_->tokenizer().is_special(token); };
  EXPECT_EQ(std::ranges::count_if(tokens, is_special), 1);
  EXPECT_EQ(std::ranges::count(tokens, specials[1]), 1);
  EXPECT_GE(tokens.size(), 3U);
  finish();
  EXPECT_EQ(alone(one).tokens, tokens);
}

}  // namespace
}  // namespace cria::engine
