// Every line of every golden.jsonl: what Hugging Face's tokenizers make of a text, we make of it.
#include <algorithm>
#include <sstream>

#include "unit/text/tokenizer_files.h"

namespace cria::text {
namespace {

class GoldenTokenizer : public testing::TestWithParam<std::filesystem::path> {};

struct GoldenLine {
  std::string text, decoded, decoded_skip_special;
  std::vector<TokenId> ids, ids_no_special;
};

std::vector<GoldenLine> read_golden(const std::filesystem::path& path) {
  std::vector<GoldenLine> lines;
  std::istringstream file(read_file(path));
  for (std::string line; std::getline(file, line);) {
    const Json json = Json::parse(line);
    lines.push_back({json.at("text"), json.at("decoded"), json.at("decoded_skip_special"),
                     json.at("ids").get<std::vector<TokenId>>(),
                     json.at("ids_no_special").get<std::vector<TokenId>>()});
  }
  return lines;
}

TEST_P(GoldenTokenizer, EncodesAndDecodesEveryLine) {
  const auto tokenizer = open_tokenizer(GetParam());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message();
  const std::vector<GoldenLine> lines = read_golden(GetParam() / "golden.jsonl");
  ASSERT_FALSE(lines.empty());
  for (const GoldenLine& line : lines) {
    SCOPED_TRACE(Json(line.text).dump());
    EXPECT_EQ(tokenizer->encode(line.text).value(), line.ids);
    EXPECT_EQ(tokenizer->encode(line.text, {.add_special_tokens = false}).value(), line.ids_no_special);
    EXPECT_EQ(tokenizer->decode(line.ids_no_special, false).value(), line.decoded);
    EXPECT_EQ(tokenizer->decode(line.ids, true).value(), line.decoded_skip_special);
    EXPECT_EQ(decode_streamed(*tokenizer, line.ids_no_special, false), line.decoded);
    EXPECT_EQ(decode_streamed(*tokenizer, line.ids, true), line.decoded_skip_special);
    if (HasFailure()) break;  // one line says enough
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GoldenTokenizer, testing::ValuesIn(fixture_dirs("tokenizers")),
                         [](const auto& info) { return fixture_name(fixture_dirs("tokenizers"), info.param); });

/// Their licences keep these out of the project; say so where they are missing.
TEST(GoldenTokenizers, IncludeThoseOfPublishedModels) {
  const auto folders = fixture_dirs("tokenizers");
  for (const char* name : {"llama2", "llama3"}) {
    const bool found =
        std::any_of(folders.begin(), folders.end(), [&](const auto& folder) { return folder.filename() == name; });
    if (!found) GTEST_SKIP() << "no fixture " << name << ": it is not part of the project, see tests/fixtures.h";
  }
}

/// Loading is part of every start: the largest vocabulary in use, 128,000 tokens and 280,000 merges.
TEST(GoldenTokenizers, LoadQuickly) {
  for (const auto& folder : fixture_dirs("tokenizers")) {
    const std::string file = read_file(folder / "tokenizer.json");
    const double seconds = seconds_of([&] { EXPECT_TRUE(Tokenizer::from_json(file, "", "tokenizer.json")); });
    EXPECT_LT(seconds, 2.0 * kSlowBuild) << folder;
  }
}

}  // namespace
}  // namespace cria::text
