// Drafts are what followed the last tokens when they came before, found as a slow search finds it.
#include "engine/prompt_lookup.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

namespace cria::engine {
namespace {

using Tokens = std::vector<uint32_t>;

/// The same by looking at every place.
Tokens slow_draft(const Tokens& text, uint32_t most) {
  for (size_t length = PromptLookup::kLongest; length >= PromptLookup::kShortest; --length) {
    for (size_t place = text.size() - 1; place >= length && length < text.size(); --place) {
      if (!std::equal(text.end() - static_cast<ptrdiff_t>(length), text.end(),
                      text.begin() + static_cast<ptrdiff_t>(place - length))) {
        continue;
      }
      Tokens all = text;
      while (all.size() < text.size() + most) all.push_back(all[place + all.size() - text.size()]);
      return {all.begin() + static_cast<ptrdiff_t>(text.size()), all.end()};
    }
  }
  return {};
}

TEST(PromptLookup, TakesTheLatestPlaceOfTheLongestRun) {
  PromptLookup lookup;
  EXPECT_EQ(lookup.draft(Tokens{1, 2, 3, 4, 5, 9, 3, 4, 6, 7, 3, 4}, 3), (Tokens{6, 7, 3}));
  lookup.clear();
  EXPECT_EQ(lookup.draft(Tokens{1, 3, 4, 5, 6, 7, 4, 5, 8, 9, 3, 4, 5}, 2), (Tokens{6, 7})) << "3 4 5 before 4 5";
  lookup.clear();
  EXPECT_EQ(lookup.draft(Tokens{1, 2, 3, 4}, 2), Tokens());
  EXPECT_EQ(lookup.draft(Tokens{1, 2, 3, 4, 4}, 2), Tokens()) << "one token is no run";
}

TEST(PromptLookup, GoesOnInItsOwnDraft) {
  PromptLookup lookup;
  EXPECT_EQ(lookup.draft(Tokens{5, 5, 5}, 4), (Tokens{5, 5, 5, 5}));
  lookup.clear();
  EXPECT_EQ(lookup.draft(Tokens{1, 2, 3, 1, 2, 3}, 7), (Tokens{1, 2, 3, 1, 2, 3, 1}));
}

TEST(PromptLookup, EmptyAndShortTextsGiveNoDraft) {
  PromptLookup lookup;
  EXPECT_EQ(lookup.draft(Tokens{}, 4), Tokens());
  EXPECT_EQ(lookup.draft(Tokens{1}, 4), Tokens());
  EXPECT_EQ(lookup.draft(Tokens{1, 1}, 4), Tokens());
  EXPECT_EQ(lookup.draft(Tokens{1, 1, 1}, 0), Tokens());
}

TEST(PromptLookup, FindsWhatASlowSearchFindsWhileTheTextGrows) {
  std::mt19937 random(7);
  for (const uint32_t letters : {2U, 5U, 30U}) {
    PromptLookup lookup;
    Tokens text;
    for (int step = 0; step < 200; ++step) {
      for (uint32_t more = random() % 4; more > 0; --more) text.push_back(random() % letters);
      if (text.empty()) continue;
      ASSERT_EQ(lookup.draft(text, 6), slow_draft(text, 6)) << letters << " letters, step " << step;
    }
  }
}

TEST(PromptLookup, CostsMicroseconds) {
  std::mt19937 random(1);
  PromptLookup lookup;
  Tokens text;
  const auto start = std::chrono::steady_clock::now();
  constexpr int kTokens = 20000;
  for (int i = 0; i < kTokens; ++i) {
    text.push_back(random() % 1000);
    lookup.draft(text, 15);
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  EXPECT_LT(taken.count() / kTokens, 50e-6) << "far above the 1 us or so of an idle machine";
}

}  // namespace
}  // namespace cria::engine
