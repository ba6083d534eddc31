// Round trips, and streaming: pieces of text that are always whole, and together what decode gives.
#include "unit/text/tokenizer_files.h"

namespace cria::text {
namespace {

class EveryTokenizer : public testing::TestWithParam<std::filesystem::path> {};
INSTANTIATE_TEST_SUITE_P(Fixtures, EveryTokenizer, testing::ValuesIn(fixture_dirs("tokenizers")),
                         [](const auto& info) { return fmt::format("fixture{}", info.index); });

TEST_P(EveryTokenizer, StreamsRandomIdsAsItDecodesThem) {
  const auto tokenizer = open_tokenizer(GetParam()).value();
  std::mt19937 random(1);
  const auto size = static_cast<TokenId>(tokenizer.vocab_size());
  for (int round = 0; round < 500; ++round) {
    // Half of the ids are small: there the bytes are, so that runs of them are frequent.
    std::vector<TokenId> ids;
    while (ids.size() < 30) {
      const TokenId id = random() % (random() % 2 == 0 ? std::min<TokenId>(size, 300) : size);
      if (tokenizer.id_to_token(id)) ids.push_back(id);
    }
    for (const bool skip : {false, true}) {
      const std::string decoded = tokenizer.decode(ids, skip).value();
      ASSERT_EQ(decode_streamed(tokenizer, ids, skip), decoded) << Json(ids).dump();
      ASSERT_FALSE(find_invalid_utf8(decoded));
    }
  }
}

/// What tokens stand for, joined, is the text: but for the blanks at its begin that some decoders take away.
TEST_P(EveryTokenizer, TokensStandForTheBytesOfTheText) {
  const auto tokenizer = open_tokenizer(GetParam()).value();
  if (Json::parse(read_file(GetParam() / "tokenizer.json")).at("decoder").is_null()) GTEST_SKIP() << "joins by blanks";
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const auto ids = tokenizer.encode(random_text(random, round % 40), {.add_special_tokens = false}).value();
    const std::string decoded = tokenizer.decode(ids, false).value();
    if (decoded.find("\uFFFD") != std::string::npos) continue;
    std::string joined;
    for (const TokenId id : ids) joined += tokenizer.token_bytes(id).value();
    ASSERT_TRUE(joined.ends_with(decoded)) << Json(decoded).dump() << " of " << Json(ids).dump();
    ASSERT_EQ(joined.find_first_not_of(' ', 0) >= joined.size() - decoded.size(), true) << Json(decoded).dump();
  }
  EXPECT_FALSE(tokenizer.token_bytes(static_cast<TokenId>(tokenizer.vocab_size())));
}

/// Whether a tokenizer of bytes changes nothing in a text but, perhaps, its normal form.
bool keeps_texts(const Json& file) {
  const auto has = [&](const char* key, std::string_view part) {
    return file.at(key).dump().find(part) != std::string::npos;
  };
  return has("decoder", "ByteLevel") && !has("normalizer", "Replace") &&
         !has("pre_tokenizer", "\"add_prefix_space\":true");
}

/// Where every byte has a token, no text is lost: decode(encode(x)) is x, or its normal form.
TEST(Tokenizers, GiveTextsBack) {
  int tokenizers = 0;
  for (const auto& folder : fixture_dirs("tokenizers")) {
    const Json file = Json::parse(read_file(folder / "tokenizer.json"));
    if (!keeps_texts(file)) continue;
    ++tokenizers;
    const auto tokenizer = open_tokenizer(folder).value();
    const bool normalizes = !file.at("normalizer").is_null();
    std::mt19937 random(2);
    for (int round = 0; round < 300; ++round) {
      const std::string text = random_text(random, round % 50);
      const auto ids = tokenizer.encode(text, {.add_special_tokens = false, .parse_special_tokens = false}).value();
      ASSERT_EQ(tokenizer.decode(ids, false).value(), normalizes ? to_nfc(text) : text) << folder << Json(text).dump();
    }
  }
  EXPECT_GE(tokenizers, 3);
}

TEST(StreamDecoder, HoldsARunOfByteTokensUntilItEnds) {
  const auto tokenizer = tokenizer_of(tiny_tokenizer()).value();
  const auto byte = [](int value) { return static_cast<TokenId>(3 + value); };
  StreamDecoder decoder(tokenizer, true);
  EXPECT_EQ(decoder.push(byte(0xC3)).value(), "");
  EXPECT_EQ(decoder.push(byte(0xA9)).value(), "");
  EXPECT_EQ(decoder.push(260).value(), "\u00e9a");
  // From the byte on that spoils the run, every byte comes out at once.
  EXPECT_EQ(decoder.push(byte(0xE2)).value(), "");
  EXPECT_EQ(decoder.push(byte(0x82)).value(), "");
  EXPECT_EQ(decoder.push(byte(0x41)).value(), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(decoder.push(byte(0x41)).value(), "\uFFFD");
  EXPECT_EQ(decoder.push(260).value(), "a");
  EXPECT_EQ(decoder.push(byte(0xF0)).value(), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
}

TEST(StreamDecoder, APauseEndsARunAndTheTextGoesOn) {
  const auto tokenizer = tokenizer_of(tiny_tokenizer()).value();
  const auto byte = [](int value) { return static_cast<TokenId>(3 + value); };
  StreamDecoder decoder(tokenizer, true);
  EXPECT_EQ(decoder.push(byte(0xC3)).value(), "");
  EXPECT_EQ(decoder.push(byte(0xA9)).value(), "");
  EXPECT_EQ(decoder.push(byte(0xE2)).value(), "");
  EXPECT_EQ(decoder.pause(), "\u00e9") << "a character that has only begun is left out";
  EXPECT_EQ(decoder.pause(), "");
  EXPECT_EQ(decoder.push(266).value(), " a") << "the blank of a word that is not the text's first stays";
  EXPECT_EQ(decoder.push(byte(0xFF)).value(), "\uFFFD");
  EXPECT_EQ(decoder.pause(), "");
  EXPECT_EQ(decoder.push(byte(0x41)).value(), "") << "a new run, of which nothing is wrong yet";
  EXPECT_EQ(decoder.pause(), "A");
}

TEST(StreamDecoder, StripsOneBlankAtTheBeginOfTheTextOnly) {
  const auto tokenizer = tokenizer_of(tiny_tokenizer()).value();
  StreamDecoder decoder(tokenizer, true);
  for (int text = 0; text < 2; ++text) {  // after finish() another text begins
    EXPECT_EQ(decoder.push(1).value(), "") << "a special token is no text";
    EXPECT_EQ(decoder.push(266).value(), "a");
    EXPECT_EQ(decoder.push(266).value(), " a");
    EXPECT_EQ(decoder.finish(), "");
  }
}

TEST(StreamDecoder, RefusesIdsOutsideTheVocabulary) {
  const auto tokenizer = tokenizer_of(tiny_tokenizer()).value();
  for (const TokenId id : {TokenId{267}, UINT32_MAX}) {
    const auto piece = StreamDecoder(tokenizer, true).push(id);
    ASSERT_FALSE(piece);
    EXPECT_EQ(piece.error().message(), fmt::format("the token {} is not in the vocabulary of 267 tokens", id));
    EXPECT_FALSE(tokenizer.decode(std::vector<TokenId>{260, id}, false));
  }
}

}  // namespace
}  // namespace cria::text
