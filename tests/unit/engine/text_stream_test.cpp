// Stop texts: given out is exactly what stands before the first one, however the text is cut.
#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include "tiny_model.h"

namespace cria::engine {
namespace {

TEST(FindStop, TellsTheFirstAndWhatMayBecomeOne) {
  const std::vector<std::string> stops = {"END", "\n\n"};
  EXPECT_EQ(find_stop("a\n\nbEND", stops).at, 1U);
  EXPECT_EQ(find_stop("abc", stops).at, std::string_view::npos);
  EXPECT_EQ(find_stop("abc", stops).held_back, 0U);
  EXPECT_EQ(find_stop("abEN", stops).held_back, 2U);
  EXPECT_EQ(find_stop("ab\n", stops).held_back, 1U);
  EXPECT_EQ(find_stop("EE", stops).held_back, 1U);
}

TEST(TextStream, GivesOutWhatStandsBeforeTheStop) {
  const auto tokenizer =
      text::Tokenizer::from_json(file_text(default_model_path() / "tokenizer.json"), "", "t").value();
  const std::string whole = "Once upon a time there was a dog. He was happy. The END of it";
  const auto ids = tokenizer.encode(whole, {.add_special_tokens = false}).value();
  for (const std::string stop : {"dog", " was", "END", "e", "Once", "zebra", "it", "ittt"}) {
    SCOPED_TRACE(stop);
    TextStream stream(tokenizer, {stop});
    std::string text;
    for (const text::TokenId id : ids) text += stream.push(id).value();
    text += stream.finish();
    EXPECT_EQ(text, whole.substr(0, whole.find(stop)));
    EXPECT_EQ(stream.stopped(), whole.find(stop) != std::string::npos);
  }
}

}  // namespace
}  // namespace cria::engine
