// What the tokenizer tests share: reading fixtures, a tiny tokenizer to change, random texts, time bounds.
#pragma once

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "fixtures.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace cria::text {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline Result<Tokenizer> open_tokenizer(const std::filesystem::path& folder) {
  return Tokenizer::from_json(read_file(folder / "tokenizer.json"), "", "tokenizer.json");
}

inline Result<Tokenizer> tokenizer_of(const Json& file, std::string_view settings = "") {
  return Tokenizer::from_json(file.dump(), settings, "tokenizer.json");
}

/// A byte-fallback tokenizer in the style of Llama 2: <unk> <s> </s>, <0x00> to <0xFF>, then from 259 on the
/// tokens U+2581 a b c ab bc abc U+2581a.
inline Json tiny_tokenizer() {
  Json file = Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "\u2581"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
      "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2},
      "merges": [["a", "b"], ["b", "c"], ["ab", "c"], ["\u2581", "a"]]}})");
  Json& vocabulary = file["model"]["vocab"];
  for (int byte = 0; byte < 256; ++byte) vocabulary[fmt::format("<0x{:02X}>", byte)] = 3 + byte;
  int id = 259;
  for (const char* token : {"\u2581", "a", "b", "c", "ab", "bc", "abc", "\u2581a"}) vocabulary[token] = id++;
  for (const char* token : {"<unk>", "<s>", "</s>"}) {
    file["added_tokens"].push_back({{"id", vocabulary[token]}, {"content", token}, {"special", true}});
  }
  return file;
}

/// What a StreamDecoder makes of all ids; fails the test where a piece is not valid UTF-8.
inline std::string decode_streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip_special) {
  StreamDecoder decoder(tokenizer, skip_special);
  std::string text;
  const auto take = [&](const std::string& piece) {
    EXPECT_FALSE(find_invalid_utf8(piece)) << "a piece with half a character";
    text += piece;
  };
  for (const TokenId id : ids) {
    const auto piece = decoder.push(id);
    EXPECT_TRUE(piece) << piece.error().message();
    if (piece) take(*piece);
  }
  take(decoder.finish());
  return text;
}

/// Random valid UTF-8 of all planes, half of it from the first 256 code points.
inline std::string random_text(std::mt19937& random, size_t code_points) {
  std::string text;
  while (code_points-- > 0) {
    char32_t point = random() % (random() % 2 == 0 ? 0x100 : 0x110000);
    if (point >= 0xD800 && point <= 0xDFFF) point = ' ';
    append_utf8(text, point);
  }
  return text;
}

/// Processor seconds that `work` takes: other programs do not count.
template <typename Work>
double seconds_of(Work&& work) {
  const std::clock_t begin = std::clock();
  work();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

/// How much slower this build may be than a release build.
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
inline constexpr double kSlowBuild = 10;
#else
inline constexpr double kSlowBuild = 1;
#endif

}  // namespace cria::text
