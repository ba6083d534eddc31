// GGUF files of both versions open with the values, tensors and parts that they hold.
#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <cmath>

#include "gguf_text.h"
#include "temporary_folder.h"

namespace cria::formats {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

GgufText one_of_each() {
  GgufText text;
  text.field("u8", 0, raw(uint8_t{200})).field("i8", 1, raw(int8_t{100})).field("u16", 2, raw(uint16_t{60000}));
  text.field("i16", 3, raw(int16_t{-2})).u32("u32", 4'000'000'000).i32("i32", -3).f32("f32", 1.5F);
  text.boolean("yes", true).string("name", "a name");
  text.field("u64", 10, raw(uint64_t{1} << 40)).field("i64", 11, raw(int64_t{7})).field("f64", 12, raw(2.5));
  text.strings("words", {"", "b", "cc"}).numbers<float>("scores", 6, {0.5F, -1}).numbers<int32_t>("kinds", 5, {1, 6});
  text.numbers<uint32_t>("empty", 4, {});
  text.tensor("weight", {3, 2}, 0, std::string(24, 'x')).tensor("bias", {3}, 1, "abcdef");
  return text;
}

TEST(Gguf, BothVersionsGiveEveryTypeOfValue) {
  for (const uint32_t version : {2U, 3U}) {
    GgufText text = one_of_each();
    text.version = version;
    const std::string file = text.file();
    const auto contents = parse_gguf(bytes_of(file), "x.gguf");
    ASSERT_TRUE(contents) << contents.error().message();
    EXPECT_EQ(contents->version, version);
    const GgufFields fields(contents->metadata, "x.gguf");
    EXPECT_EQ(fields.whole("u8", 0, 255).value(), 200U);
    EXPECT_EQ(fields.whole("i8", 0, 255).value(), 100U);
    EXPECT_EQ(fields.whole("u16", 0, 65535).value(), 60000U);
    EXPECT_EQ(fields.whole("u32", 0, UINT32_MAX).value(), 4'000'000'000U);
    EXPECT_EQ(fields.whole("u64", 0, UINT64_MAX).value(), uint64_t{1} << 40);
    EXPECT_EQ(fields.whole("i64", 0, 9).value(), 7U);
    EXPECT_EQ(fields.number("f32", 0, 2).value(), 1.5);
    EXPECT_EQ(fields.number("f64", 0, 9).value(), 2.5);
    EXPECT_EQ(fields.boolean("yes").value(), true);
    EXPECT_EQ(fields.string("name").value(), "a name");
    EXPECT_EQ(fields.strings("words").value(), (std::vector<std::string_view>{"", "b", "cc"}));
    EXPECT_EQ(fields.numbers("scores").value(), (std::vector<float>{0.5F, -1}));
    EXPECT_EQ(fields.wholes("kinds", 1, 6).value(), (std::vector<uint64_t>{1, 6}));
    EXPECT_EQ(fields.wholes("u8", 1, 255).value(), (std::vector<uint64_t>{200}));
    EXPECT_TRUE(fields.wholes("empty", 1, 6).value().empty());
    EXPECT_EQ(fields.whole("missing", 0, 1).value(), std::nullopt);
  }
}

TEST(Gguf, TensorsHaveTheirShapesRowMajorAndTheirBytes) {
  const std::string file = one_of_each().file();
  const auto contents = parse_gguf(bytes_of(file), "x.gguf").value();
  ASSERT_EQ(contents.tensors.size(), 2U);
  EXPECT_EQ(contents.tensors[0].name, "weight");
  EXPECT_EQ(contents.tensors[0].dtype, DType::kF32);
  EXPECT_EQ(contents.tensors[0].shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(contents.tensors[0].data.size(), 24U);
  EXPECT_EQ(contents.tensors[1].shape, (std::vector<uint64_t>{3}));
  const auto data = contents.tensors[1].data;
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(data.data()), data.size()), "abcdef");
  EXPECT_EQ(contents.tensors[1].file_offset % 32, 0U);
}

TEST(Gguf, AnotherAlignmentIsKept) {
  GgufText text;
  text.alignment = 128;
  text.u32("general.alignment", 128).tensor("a", {1}, 24, "x").tensor("b", {1}, 24, "y");
  const std::string file = text.file();
  const auto contents = parse_gguf(bytes_of(file), "x.gguf");
  ASSERT_TRUE(contents) << contents.error().message();
  EXPECT_EQ(contents->tensors[1].file_offset, contents->tensors[0].file_offset + 128);
}

TEST(Gguf, BlocksTakeTheBytesThatTheirTypesSay) {
  struct Row {
    uint32_t id;
    DType dtype;
    uint64_t columns, bytes;
  };
  for (const Row& row : {Row{2, DType::kQ4_0, 32, 18}, Row{8, DType::kQ8_0, 64, 68}, Row{12, DType::kQ4_K, 256, 144},
                         Row{14, DType::kQ6_K, 512, 420}, Row{20, DType::kIQ4_NL, 32, 18}}) {
    const std::string file =
        GgufText().u32("k", 1).tensor("t", {row.columns, 2}, row.id, std::string(2 * row.bytes, 0)).file();
    const auto contents = parse_gguf(bytes_of(file), "x.gguf");
    ASSERT_TRUE(contents) << contents.error().message();
    EXPECT_EQ(contents->tensors[0].dtype, row.dtype);
    EXPECT_EQ(contents->tensors[0].data.size(), 2 * row.bytes);
    EXPECT_EQ(gguf_tensor_type(row.dtype), row.id);
  }
}

TEST(Gguf, PairedRowsAreFoundWhereTheyAreStored) {
  TensorView view;
  EXPECT_EQ(view.stored_row(5), 5U);
  view.paired_rows = 6;  // rows 0 to 5 of a head are stored as 0 2 4 1 3 5 would be counted: 0, 3, 1, 4, 2, 5
  const std::vector<uint64_t> stored = {0, 2, 4, 1, 3, 5};
  for (uint64_t row = 0; row < 6; ++row) {
    EXPECT_EQ(view.stored_row(row), stored[row]);
    EXPECT_EQ(view.stored_row(6 + row), 6 + stored[row]);
  }
}

GgufText part(uint16_t number, uint16_t count, int32_t tensors) {
  GgufText text;
  text.field("split.no", 2, raw(number)).field("split.count", 2, raw(count)).i32("split.tensors.count", tensors);
  return text;
}

class GgufSplit : public testing::Test {
 protected:
  void SetUp() override {
    folder_.write("m-00001-of-00003.gguf", part(0, 3, 2).string("general.name", "n").file());
    folder_.write("m-00002-of-00003.gguf", part(1, 3, 2).tensor("a", {1}, 24, "x").file());
    folder_.write("m-00003-of-00003.gguf", part(2, 3, 2).tensor("b", {1}, 24, "y").file());
  }
  void expect_refused(const std::string& name, std::string_view phrase) const {
    const auto opened = Gguf::open(folder_.path() / name);
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message().find(phrase), std::string::npos) << opened.error().message();
  }
  TemporaryFolder folder_;
};

TEST_F(GgufSplit, TheFirstFileOpensAll) {
  const auto opened = Gguf::open(folder_.path() / "m-00001-of-00003.gguf");
  ASSERT_TRUE(opened) << opened.error().message();
  ASSERT_EQ(opened->tensors().size(), 2U);
  EXPECT_EQ(opened->tensors()[0].name, "a");
  EXPECT_EQ(opened->tensors()[1].name, "b");
  EXPECT_EQ(opened->tensors()[1].file->path().filename(), "m-00003-of-00003.gguf");
  EXPECT_EQ(opened->fields().string("general.name").value(), "n");
}

TEST_F(GgufSplit, AnyOtherFileNamesTheFirst) {
  expect_refused("m-00002-of-00003.gguf", "is file 2 of a split model; name the first, which ends in -00001-of-00003");
}

TEST_F(GgufSplit, WhatDoesNotFitIsRefused) {
  folder_.write("m-00002-of-00003.gguf", part(2, 3, 2).tensor("a", {1}, 24, "x").file());
  expect_refused("m-00001-of-00003.gguf", "m-00002-of-00003.gguf: says that it is file 3 of 3, not 2 of 3");
  folder_.write("m-00002-of-00003.gguf", part(1, 4, 2).tensor("a", {1}, 24, "x").file());
  expect_refused("m-00001-of-00003.gguf", "says that it is file 2 of 4, not 2 of 3");
  folder_.write("m-00002-of-00003.gguf", part(1, 3, 2).tensor("b", {1}, 24, "x").file());
  expect_refused("m-00001-of-00003.gguf", "two of the files have the tensor \"b\"");
  folder_.write("m-00002-of-00003.gguf", part(1, 3, 2).tensor("a", {1}, 24, "x").tensor("c", {1}, 24, "x").file());
  expect_refused("m-00001-of-00003.gguf", "there are 2 tensors in all files, which hold 3");
  std::filesystem::remove(folder_.path() / "m-00002-of-00003.gguf");
  expect_refused("m-00001-of-00003.gguf", "m-00002-of-00003.gguf: cannot be opened");
  folder_.write("n.gguf", part(0, 3, 2).string("general.name", "n").file());
  expect_refused("n.gguf", "but its name does not end in -00001-of-00003.gguf");
}

}  // namespace
}  // namespace cria::formats
