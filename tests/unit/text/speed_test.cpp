// The speed law: no text of a megabyte takes long, in either direction, whatever it repeats.
#include <map>
#include <set>

#include "unit/text/tokenizer_files.h"

namespace cria::text {
namespace {

/// A tenth of it with sanitizers, which would take half an hour for the whole.
constexpr size_t kBytes = kSlowBuild == 1 ? size_t{1} << 20 : 100'000;
/// Measured at 0.3 s for the slowest; the bound leaves room for a busy machine.
constexpr double kMostSeconds = 1.0 * kSlowBuild;

std::string repeat(std::string_view unit, size_t bytes) {
  std::string text;
  text.reserve(bytes + unit.size());
  while (text.size() < bytes) text += unit;
  return text;
}

/// One fixture of each kind: the small ones add nothing to the time that these take.
const std::map<std::filesystem::path, Tokenizer>& kinds_of_tokenizers() {
  static const std::map<std::filesystem::path, Tokenizer> tokenizers = [] {
    const std::set<std::string> kinds = {"llama2",           "llama3",          "gpt2-style-400",    "qwen2-style-400",
                                         "metaspace-always", "metaspace-added", "gpt2-digits-prefix"};
    std::map<std::filesystem::path, Tokenizer> list;
    for (const auto& folder : fixture_dirs("tokenizers")) {
      if (kinds.contains(folder.filename().string())) list.emplace(folder, open_tokenizer(folder).value());
    }
    return list;
  }();
  return tokenizers;
}

class TokenizerSpeed : public testing::TestWithParam<std::string> {};

void check_speed(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<TokenId> ids;
  EXPECT_LT(seconds_of([&] { ids = tokenizer.encode(text).value(); }), kMostSeconds) << "encode";
  std::string decoded;
  EXPECT_LT(seconds_of([&] { decoded = tokenizer.decode(ids, false).value(); }), kMostSeconds) << "decode";
  std::string streamed;
  EXPECT_LT(seconds_of([&] { streamed = decode_streamed(tokenizer, ids, false); }), kMostSeconds) << "stream";
  EXPECT_EQ(streamed, decoded);
}

TEST_P(TokenizerSpeed, HoldsForAMegabyteOfOneThing) {
  const std::string text = repeat(GetParam(), kBytes);
  for (const auto& [folder, tokenizer] : kinds_of_tokenizers()) {
    SCOPED_TRACE(folder);
    check_speed(tokenizer, text);
  }
}

INSTANTIATE_TEST_SUITE_P(Units, TokenizerSpeed,
                         testing::Values("a", "7", " ", "\n", "\r\n", "\t ", "^", "\"", "'", "'s", "\U0001f600",
                                         "\u0301", "\u0323\u0301", "\u1100\u1161", "\ud55c", std::string(1, '\0'),
                                         "\u2581", "<", "<s", "<s>", " <s> ", "<|", "[A", "ab ", "e\u0301", "<0x41>"),
                         [](const auto& info) { return fmt::format("unit{}", info.index); });

TEST(TokenizerTime, LongRunsFromBugReports) {
  for (const auto& [folder, tokenizer] : kinds_of_tokenizers()) {
    SCOPED_TRACE(folder);
    check_speed(tokenizer, std::string(43'000, 'A'));
    check_speed(tokenizer, std::string(26'000, ' '));
    check_speed(tokenizer, "<s>" + std::string(100'000, ' ') + "x" + std::string(100'000, '\n') + "</s>");
  }
}

TEST(TokenizerTime, InvalidUtf8IsRefusedAtOnce) {
  const auto tokenizer = tokenizer_of(tiny_tokenizer()).value();
  const std::string good(kBytes, 'a');
  for (const std::string& text : {std::string(kBytes, '\xff'), std::string(kBytes, '\x80'), good + "\xe2\x82"}) {
    const size_t offset = find_invalid_utf8(text).value();
    EXPECT_LT(seconds_of([&] {
                const auto ids = tokenizer.encode(text);
                ASSERT_FALSE(ids);
                EXPECT_EQ(ids.error().code(), ErrorCode::kInvalidInput);
                EXPECT_NE(ids.error().message().find("offset " + with_commas(offset)), std::string::npos)
                    << ids.error().message();
              }),
              0.1 * kSlowBuild);
  }
}

/// Spellings that begin alike make the usual search for the leftmost-longest match quadratic.
TEST(TokenizerTime, HoldsForHostileAddedTokens) {
  Json file = tiny_tokenizer();
  auto add = [&, id = 300](const std::string& content) mutable {
    file["added_tokens"].push_back({{"id", id++}, {"content", content}, {"lstrip", true}, {"rstrip", true}});
  };
  add("x");
  for (int length = 100; length <= 1000; length += 100) add(std::string(static_cast<size_t>(length), 'x') + "y");
  for (int i = 0; i < 20'000; ++i) add(fmt::format("x|{}|x", i));
  Result<Tokenizer> tokenizer = tokenizer_of(tiny_tokenizer());
  EXPECT_LT(seconds_of([&] { tokenizer = tokenizer_of(file); }), kMostSeconds);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message();
  for (const char* unit : {"x", "x|", "x ", "x|1", " "}) check_speed(*tokenizer, repeat(unit, kBytes));
}

}  // namespace
}  // namespace cria::text
