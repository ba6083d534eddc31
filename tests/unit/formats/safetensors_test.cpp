// Reading and writing of well-formed safetensors files; the malformed ones are in tests/hostile.
#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "fixtures.h"
#include "safetensors_text.h"
#include "temporary_folder.h"

namespace cria::formats {
namespace {

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirData) {
  const std::string file =
      safetensors_file("{" + tensor_text("b", "F32", "[2,3]", 4, 28) + "," + tensor_text("a", "BF16", "[2]", 0, 4) +
                           ",\"__metadata__\":{\"format\":\"pt\"}}",
                       28);
  const auto header = parse_safetensors(bytes_of(file), "x.safetensors");
  ASSERT_TRUE(header) << header.error().message();
  ASSERT_EQ(header->tensors.size(), 2U);
  const TensorView& a = header->tensors[0];
  const TensorView& b = header->tensors[1];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype, DType::kBF16);
  EXPECT_EQ(a.shape, (std::vector<uint64_t>{2}));
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.dtype, DType::kF32);
  EXPECT_EQ(b.shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(b.data.size(), 24U);
  EXPECT_EQ(b.data.data() - a.data.data(), 4);
  EXPECT_EQ(b.file_offset, file.size() - 24);
  EXPECT_EQ(header->metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
}

TEST(Safetensors, AcceptsEmptyTensorsSingleNumbersAndPadding) {
  const std::string file = safetensors_file(
      "{" + tensor_text("none", "F32", "[0,7]", 4, 4) + "," + tensor_text("one", "F32", "[]", 0, 4) + "}      ", 4);
  const auto header = parse_safetensors(bytes_of(file), "x");
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_TRUE(header->tensors[0].shape.empty());
  EXPECT_EQ(header->tensors[0].data.size(), 4U);
  EXPECT_TRUE(header->tensors[1].data.empty());
}

TEST(Safetensors, AcceptsAFileWithoutTensors) {
  const auto header = parse_safetensors(bytes_of(safetensors_file("{}")), "x");
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_TRUE(header->tensors.empty());
}

TEST(Safetensors, KnowsEveryTypeByNameAndSize) {
  const std::map<std::string, uint32_t> expected = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
      {"F32", 4},  {"F64", 8}, {"I64", 8}, {"U64", 8},     {"C64", 8}};
  for (const auto& [name, bytes] : expected) {
    const auto dtype = dtype_of_name(name);
    ASSERT_TRUE(dtype) << name;
    EXPECT_EQ(dtype_name(*dtype), name);
    EXPECT_EQ(dtype_bytes(*dtype), bytes) << name;
  }
  EXPECT_FALSE(dtype_of_name("F4"));
}

TEST(Safetensors, OpensEveryFixture) {
  size_t files = 0;
  for (const auto& folder : fixture_dirs("models")) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() != ".safetensors") continue;
      const auto file = Safetensors::open(entry.path());
      ASSERT_TRUE(file) << file.error().message();
      EXPECT_FALSE(file->tensors().empty());
      for (const TensorView& tensor : file->tensors()) EXPECT_EQ(tensor.file->path(), entry.path());
      ++files;
    }
  }
  EXPECT_GE(files, 20U);
}

TEST(Safetensors, SaysThatAFileIsMissing) {
  const auto file = Safetensors::open("no/such/file.safetensors");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code(), ErrorCode::kNotFound);
}

TensorView view(std::string name, DType dtype, std::vector<uint64_t> shape, std::string_view data) {
  TensorView tensor;
  tensor.name = std::move(name);
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  tensor.data = bytes_of(data);
  return tensor;
}

std::string text_of(const TensorView& tensor) {
  return {reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size()};
}

TEST(SafetensorsWriter, WhatIsWrittenIsReadBack) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "out.safetensors";
  const std::vector<TensorView> tensors = {view("odd", DType::kU8, {3}, "abc"), view("half", DType::kF16, {2}, "wxyz"),
                                           view("quote\"\\\n\u00e9", DType::kF32, {2, 1}, "12345678"),
                                           view("empty", DType::kF64, {0, 5}, ""),
                                           view("one", DType::kI64, {}, "8bytes..")};
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"note", "a \"quoted\" text\t\u2581"}};
  const auto written = write_safetensors(path, tensors, metadata);
  ASSERT_TRUE(written) << written.error().message();

  const auto file = Safetensors::open(path);
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ(file->metadata(), metadata);
  ASSERT_EQ(file->tensors().size(), tensors.size());
  for (const TensorView& tensor : tensors) {
    const auto found = std::ranges::find(file->tensors(), tensor.name, &TensorView::name);
    ASSERT_NE(found, file->tensors().end()) << tensor.name;
    EXPECT_EQ(found->dtype, tensor.dtype);
    EXPECT_EQ(found->shape, tensor.shape);
    EXPECT_EQ(text_of(*found), text_of(tensor));
    EXPECT_EQ(found->file_offset % dtype_bytes(tensor.dtype), 0U) << tensor.name << " is not aligned";
  }
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"out.safetensors"}));
}

TEST(SafetensorsWriter, CopiesEveryFixtureUnchanged) {
  const TemporaryFolder folder;
  for (const auto& model : fixture_dirs("models")) {
    const auto original = Safetensors::open(model / "golden.safetensors");
    ASSERT_TRUE(original) << original.error().message();
    const auto path = folder.path() / "copy.safetensors";  // replaced each time
    ASSERT_TRUE(write_safetensors(path, original->tensors(), original->metadata()));
    const auto copy = Safetensors::open(path);
    ASSERT_TRUE(copy) << copy.error().message();
    for (const TensorView& tensor : original->tensors()) {
      const auto found = std::ranges::find(copy->tensors(), tensor.name, &TensorView::name);
      ASSERT_NE(found, copy->tensors().end());
      EXPECT_TRUE(std::ranges::equal(found->data, tensor.data)) << tensor.name;
    }
  }
}

TEST(SafetensorsWriter, RefusesWhatNoReaderWouldAccept) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "out.safetensors";
  const TensorView good = view("t", DType::kU8, {3}, "abc");
  const struct {
    std::vector<TensorView> tensors;
    std::map<std::string, std::string> metadata;
    const char* phrase;
  } cases[] = {
      {{view("t", DType::kU8, {4}, "abc")}, {}, "tensor \"t\" has 3 bytes, which do not fit its shape [4] of U8"},
      {{view("t", DType::kU8, {1ULL << 32, 1ULL << 32}, "")}, {}, "which do not fit its shape"},
      {{good, good}, {}, "two tensors have the name \"t\""},
      {{view("__metadata__", DType::kU8, {3}, "abc")}, {}, "cannot have the name"},
      {{view("a\xff", DType::kU8, {3}, "abc")}, {}, "is not valid UTF-8"},
      {{good}, {{"key", "\xc3"}}, "is not valid UTF-8"},
  };
  for (const auto& test : cases) {
    const auto status = write_safetensors(path, test.tensors, test.metadata);
    ASSERT_FALSE(status) << test.phrase;
    EXPECT_NE(status.error().message().find(test.phrase), std::string::npos) << status.error().message();
  }
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace cria::formats
