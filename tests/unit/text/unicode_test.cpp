// UTF-8, Unicode classes, normalisation, the search for added tokens, the patterns' corners.
#include "text/pretokenizer.h"
#include "text/token_finder.h"
#include "unit/text/tokenizer_files.h"

namespace cria::text {
namespace {

TEST(Utf8, EveryCodePointComesBack) {
  for (char32_t point = 0; point < 0x110000; ++point) {
    if (point >= 0xD800 && point <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, point);
    const CodePoint decoded = decode_utf8(text, 0);
    ASSERT_EQ(decoded.value, point);
    ASSERT_EQ(decoded.bytes, text.size());
    for (size_t size = 1; size < text.size(); ++size) {
      ASSERT_EQ(incomplete_utf8_tail("x" + text.substr(0, size)), size);
      ASSERT_EQ(to_valid_utf8(text.substr(0, size)), "\uFFFD") << "one mark for a character cut short";
    }
  }
}

TEST(Utf8, WrongSequencesAreFoundWhereTheyBegin) {
  const std::pair<const char*, size_t> cases[] = {
      {"ab\xff", 2},       {"\x80", 0},         {"a\xc0\xaf", 1},        {"\xe0\x80\xaf", 0}, {"\xed\xa0\x80", 0},
      {"\xf4\x90\x80", 0}, {"\xc3\xa9\xc3", 2}, {"\xf5\x80\x80\x80", 0}, {"\xe2\x82\x28", 0}, {"x\xf0\x9f\x98", 1}};
  for (const auto& [text, offset] : cases) EXPECT_EQ(find_invalid_utf8(text), offset) << Json(offset).dump();
  EXPECT_EQ(find_invalid_utf8("a\u00e9\u20ac\U0001f600"), std::nullopt);
}

/// The example of the Unicode standard, section 3.9, table 3-11.
TEST(Utf8, MaximalSubpartsBecomeOneMarkEach) {
  EXPECT_EQ(to_valid_utf8("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), "\uFFFD\uFFFD\uFFFD\uFFFD\x41");
  EXPECT_EQ(to_valid_utf8("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");
}

TEST(Unicode, KnowsTheClassesOfCharactersNewerThanTheLibrary) {
  EXPECT_TRUE(is_letter(0x1C89));
  EXPECT_TRUE(is_letter(0x2EBF0));
  EXPECT_TRUE(is_letter(0x2EE5D));
  EXPECT_FALSE(is_letter(0x2EE5E));
  EXPECT_TRUE(is_number(0x10D40));
  EXPECT_FALSE(is_number(0x10D3F));
}

TEST(Unicode, WordCharactersAreThoseOfRegularExpressions) {
  for (const char32_t point : {U'a', U'9', U'_', U'\u0301', U'\u203f', U'\u2167', U'\u200d', U'\u24d0', U'\u4e00'}) {
    EXPECT_TRUE(is_word_character(point)) << static_cast<uint32_t>(point);
  }
  for (const char32_t point : {U' ', U'-', U'\u00b2', U'\u00bd', U'\u2581', U'\u200b', U'\0'}) {
    EXPECT_FALSE(is_word_character(point)) << static_cast<uint32_t>(point);
  }
}

TEST(Unicode, NormalFormC) {
  const std::pair<const char*, const char*> cases[] = {{"e\u0301", "\u00e9"},
                                                       {"\u212b", "\u00c5"},
                                                       {"\u1e9b\u0323", "\u1e9b\u0323"},
                                                       {"a\u0301\u0323", "\u1ea1\u0301"},
                                                       {"\u1100\u1161\u11a8", "\uac01"},
                                                       {"\u0958", "\u0915\u093c"},
                                                       {"\ufb2c", "\u05e9\u05bc\u05c1"}};
  for (const auto& [text, composed] : cases) {
    EXPECT_EQ(to_nfc(text), composed);
    EXPECT_EQ(to_nfc(to_nfc(text)), composed) << "normalising twice is normalising once";
  }
}

TEST(TokenFinder, FindsTheLongestSpellingAtEveryPlace) {
  std::mt19937 random(4);
  const auto word = [&](size_t longest) {
    std::string text;
    for (size_t i = 1 + random() % longest; i > 0; --i) text += "ab\xa7"[random() % 3];
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> spellings;
    for (int i = 0; i < 12; ++i) {
      const std::string spelling = word(6);
      if (std::find(spellings.begin(), spellings.end(), spelling) == spellings.end()) spellings.push_back(spelling);
    }
    const std::string text = word(200);
    const std::vector<uint32_t> found = TokenFinder(spellings).longest_at(text);
    for (size_t at = 0; at < text.size(); ++at) {
      size_t longest = 0;
      for (const std::string& spelling : spellings) {
        if (text.compare(at, spelling.size(), spelling) == 0) longest = std::max(longest, spelling.size());
      }
      ASSERT_EQ(found[at] == TokenFinder::kNone ? 0 : spellings[found[at]].size(), longest) << text << " at " << at;
    }
  }
}

std::vector<std::string> pieces(Pattern pattern, std::string_view text) {
  std::vector<std::string> result;
  for (size_t at = 0; at < text.size();) {
    const size_t end = scan_piece(pattern, text, at);
    result.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return result;
}

using Pieces = std::vector<std::string>;

TEST(Patterns, ContractionsIgnoreCaseWhereThePatternSaysSo) {
  EXPECT_EQ(pieces(Pattern::kGpt2, "I'll I'LL"), (Pieces{"I", "'ll", " I", "'", "LL"}));
  EXPECT_EQ(pieces(Pattern::kLlama3, "I'll I'LL"), (Pieces{"I", "'ll", " I", "'LL"}));
  EXPECT_EQ(pieces(Pattern::kLlama3, "it'\u017f it\u2019s"), (Pieces{"it", "'\u017f", " it", "\u2019s"}));
  EXPECT_EQ(pieces(Pattern::kQwen2, "'relax"), (Pieces{"'re", "lax"}));
}

TEST(Patterns, NumbersAreCutByTheirPattern) {
  EXPECT_EQ(pieces(Pattern::kGpt2, "a 12345"), (Pieces{"a", " 12345"}));
  EXPECT_EQ(pieces(Pattern::kLlama3, "a 12345"), (Pieces{"a", " ", "123", "45"}));
  EXPECT_EQ(pieces(Pattern::kQwen2, "a 123"), (Pieces{"a", " ", "1", "2", "3"}));
}

TEST(Patterns, TheLastBlankGoesWithTheWord) {
  EXPECT_EQ(pieces(Pattern::kGpt2, "a   b"), (Pieces{"a", "  ", " b"}));
  EXPECT_EQ(pieces(Pattern::kGpt2, "a \t\nb  "), (Pieces{"a", " \t", "\n", "b", "  "}));
  EXPECT_EQ(pieces(Pattern::kLlama3, "a  \n \n  b"), (Pieces{"a", "  \n \n", " ", " b"}));
  EXPECT_EQ(pieces(Pattern::kLlama3, "!\n\nx"), (Pieces{"!\n\n", "x"}));
  EXPECT_EQ(pieces(Pattern::kLlama3, "a \u00a0b"), (Pieces{"a", " ", "\u00a0b"}));
}

}  // namespace
}  // namespace cria::text
