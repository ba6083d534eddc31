// Malformed GGUF files are refused with a sentence that says why, quickly and in little memory.
#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "gguf_text.h"
#include "resource_limits.h"

namespace cria::formats {
namespace {

constexpr uint64_t kHuge[] = {1ULL << 31, 1ULL << 60, 1ULL << 63, ~0ULL};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Checks that the file is refused, that the message names the file and holds the phrase, and is short.
void expect_refused(std::string_view file, std::string_view phrase) {
  const auto contents = parse_gguf(bytes_of(file), "x.gguf");
  ASSERT_FALSE(contents) << "accepted, but should say: " << phrase;
  EXPECT_TRUE(contents.error().code() == ErrorCode::kInvalidInput ||
              contents.error().code() == ErrorCode::kUnsupported);
  const std::string message = contents.error().message();
  EXPECT_TRUE(message.starts_with("x.gguf: ")) << message;
  EXPECT_NE(message.find(phrase), std::string::npos) << message;
  EXPECT_LT(message.size(), 700U) << message;
}

GgufText small() {
  GgufText text;
  text.string("general.architecture", "llama").u32("general.alignment", 32).strings("words", {"a", "b"});
  return text.tensor("a.weight", {4, 2}, 0, std::string(32, 'x')).tensor("b.weight", {32, 1}, 2, std::string(18, 'y'));
}

TEST(HostileGguf, AWrongBeginIsRefused) {
  expect_refused("", "takes 4 bytes, but the file has only 0");
  expect_refused("GGU", "takes 4 bytes, but the file has only 3");
  expect_refused("GGML" + raw(3U), "does not begin with the word GGUF");
  expect_refused("FUGG" + raw(3U), "does not begin with the word GGUF");
  for (const uint32_t version : {0U, 1U, 4U, 0xFFFFFFFFU}) {
    GgufText text = small();
    text.version = version;
    expect_refused(text.file(), "is of GGUF version " + std::to_string(version));
  }
  GgufText swapped = small();
  swapped.version = 0x03000000;
  expect_refused(swapped.file(), "is of GGUF version 3, big-endian");
}

TEST(HostileGguf, CountsThatTheFileCannotHoldAreRefused) {
  for (const uint64_t count : kHuge) {
    expect_refused(small().file(count, 3), "tensors, but the file has only");
    expect_refused(small().file(2, count), "metadata fields, but the file has only");
  }
  expect_refused(GgufText().tensor("t", {1}, 24, "x").file(), "has no metadata");
  expect_refused(GgufText().u32("k", 1).file(), "has no tensors");
  expect_refused(small().file(2, 2), "");
  expect_refused(small().file(3, 3), "");
  expect_refused(small().file(1, 3), "bytes after the last tensor");
}

TEST(HostileGguf, StringsAndArraysThatTheFileCannotHoldAreRefused) {
  for (const uint64_t length : kHuge) {
    const std::string begin = "GGUF" + raw(3U) + raw(uint64_t{0}) + raw(uint64_t{1});
    expect_refused(begin + raw(length) + std::string(40, 'k'), "a key at byte 32 takes");
    expect_refused(GgufText().field("k", 8, raw(length) + "text").file(), "a string at byte 45 takes");
    expect_refused(GgufText().array("k", 8, length, gguf_string("a")).file(), "values of type string, but");
    expect_refused(GgufText().array("k", 12, length, raw(1.0)).file(), "values of type float64, but");
    expect_refused(GgufText().array("k", 0, length, "a").file(), "values of type uint8, but");
  }
  // 43 bytes: an array of 2^61 strings, whose smallest size wraps to 0.
  const std::string tiny =
      "GGUF" + raw(3U) + raw(uint64_t{0}) + raw(uint64_t{1}) + gguf_string("k") + raw(9U) + raw(8U);
  EXPECT_LT(seconds_of([&] { expect_refused((tiny + raw(uint64_t{1} << 61)).substr(0, 43), ""); }),
            CRIA_SLOW_BUILD ? 0.01 : 0.001);
  expect_refused(tiny + raw(uint64_t{1} << 61), "claims 2,305,843,009,213,693,952 values of type string");
  expect_refused(GgufText().array("k", 9, 1, raw(4U) + raw(uint64_t{1}) + raw(1U)).file(), "is an array of arrays");
  expect_refused(GgufText().field("k", 13, raw(1U)).file(), "has values of the unknown type 13");
  expect_refused(GgufText().array("k", 13, 1, raw(1U)).file(), "has values of the unknown type 13");
  expect_refused(GgufText().field("k", 0xFFFFFFFF, raw(1U)).file(), "has values of the unknown type 4294967295");
}

TEST(HostileGguf, OddNamesAreRefused) {
  expect_refused(GgufText().u32("", 1).file(), "not of 1 to 65,535 printable ASCII characters");
  expect_refused(GgufText().u32("a\nb", 1).file(), "printable ASCII");
  expect_refused(GgufText().u32(std::string("a\0b", 3), 1).file(), "printable ASCII");
  expect_refused(GgufText().u32(std::string(65536, 'k'), 1).file(), "not of 1 to 65,535");
  expect_refused(GgufText().u32("k", 1).u32("k", 2).file(), "the key \"k\" appears twice");
  expect_refused(GgufText().u32("k", 1).tensor("", {1}, 24, "x").file(), "not of 1 to 255 printable ASCII");
  expect_refused(GgufText().u32("k", 1).tensor(std::string(256, 't'), {1}, 24, "x").file(), "not of 1 to 255");
  expect_refused(GgufText().u32("k", 1).tensor("t", {1}, 24, "x").tensor("t", {1}, 24, "x").file(),
                 "two tensors have the name \"t\"");
}

TEST(HostileGguf, WrongDimensionsAreRefused) {
  const auto with = [](const std::vector<uint64_t>& dimensions, uint32_t type = 0) {
    return GgufText().u32("k", 1).tensor("t", dimensions, type, std::string(64, 'x')).file();
  };
  expect_refused(with({}), "tensor \"t\" has 0 dimensions, not 1 to 4");
  expect_refused(with({1, 1, 1, 1, 1}), "tensor \"t\" has 5 dimensions, not 1 to 4");
  expect_refused(with({0}), "tensor \"t\" has a dimension of 0");
  expect_refused(with({1ULL << 32, 1ULL << 32}), "whose size overflows 64 bits");
  expect_refused(with({1ULL << 63, 2}), "whose size overflows 64 bits");
  expect_refused(with({(1ULL << 62) + 1}), "whose size overflows 64 bits");
  expect_refused(with({~0ULL, ~0ULL, ~0ULL, ~0ULL}), "whose size overflows 64 bits");
  expect_refused(with({17}), "ends at byte");
  expect_refused(with({1ULL << 61}), "past the end of the file");
  expect_refused(with({1ULL << 40}), "past the end of the file");
  expect_refused(with({31}, 2), "whose rows are not whole blocks of 32 as Q4_0 needs");
  expect_refused(with({16, 2}, 8), "whose rows are not whole blocks of 32 as Q8_0 needs");
  expect_refused(with({128}, 14), "whose rows are not whole blocks of 256 as Q6_K needs");
  std::string many = with({1});
  many.replace(many.find(raw(1U) + raw(uint64_t{1}) + raw(0U)), 4, raw(0xFFFFFFFFU));
  expect_refused(many, "has 4294967295 dimensions");
}

TEST(HostileGguf, EveryTypeOfTensorIsKnownOrRefused) {
  size_t known = 0;
  for (uint32_t type = 0; type < 256; ++type) {
    bool accepted = false;
    for (const size_t bytes : {84, 110, 136, 144, 160, 176, 192, 210, 256, 272, 512, 1024, 2048}) {
      const std::string file = GgufText().u32("k", 1).tensor("t", {256}, type, std::string(bytes, 0)).file();
      const auto contents = parse_gguf(bytes_of(file), "x.gguf");
      if (!contents) continue;
      accepted = true;
      EXPECT_EQ(gguf_tensor_type(contents->tensors[0].dtype), type);
    }
    known += accepted;
    if (accepted) continue;
    const std::string file = GgufText().u32("k", 1).tensor("t", {256}, type, std::string(512, 0)).file();
    expect_refused(file, type < 40 ? "tensor \"t\"" : "has the unknown type " + std::to_string(type));
  }
  EXPECT_EQ(known, 20U);
  expect_refused(GgufText().u32("k", 1).tensor("t", {1}, 1U << 31, "x").file(), "has the unknown type 2147483648");
  expect_refused(GgufText().u32("k", 1).tensor("t", {256}, 17, "x").file(), "is of the type IQ2_XS, which is not");
}

TEST(HostileGguf, WrongAlignmentsAreRefused) {
  const auto with = [](uint32_t alignment) {
    return GgufText().u32("general.alignment", alignment).tensor("t", {1}, 24, "x").file();
  };
  for (const uint32_t alignment : {0U, 1U, 3U, 7U, 1U << 17, 1U << 31, ~0U}) {
    expect_refused(with(alignment), "\"general.alignment\" is " + std::to_string(alignment) + ", not a whole number");
  }
  expect_refused(with(24), "\"general.alignment\" is 24, not a power of two");
  expect_refused(GgufText().string("general.alignment", "32").tensor("t", {1}, 24, "x").file(), "is of type string");
  expect_refused(GgufText().field("general.alignment", 10, raw(uint64_t{32})).tensor("t", {1}, 24, "x").file(),
                 "is of type uint64, not uint32");
  expect_refused(GgufText().numbers<uint32_t>("general.alignment", 4, {32}).tensor("t", {1}, 24, "x").file(),
                 "is an array of 1 values of type uint32, not");
}

TEST(HostileGguf, OffsetsThatLeaveHolesOverlapOrWrapAreRefused) {
  for (const uint64_t offset : {1ULL, 31ULL, 33ULL, 64ULL, 1ULL << 63, ~0ULL, ~0ULL - 31}) {
    const std::string file =
        GgufText().u32("k", 1).tensor("a", {1}, 24, "x").entry("b", {1}, 24, offset).file() + std::string(256, 'x');
    expect_refused(file, "tensor \"b\" begins at byte ");
  }
  expect_refused(GgufText().u32("k", 1).entry("a", {1}, 24, 32).file() + std::string(256, 'x'), "not at 0");
  // Descending: the second is first.
  expect_refused(GgufText().u32("k", 1).entry("a", {1}, 24, 32).entry("b", {1}, 24, 0).file() + std::string(256, 'x'),
                 "tensor \"a\" begins at byte 32 of the data, not at 0");
}

TEST(HostileGguf, ValuesOfTheWrongTypeAreRefusedByName) {
  const std::string file = GgufText()
                               .numbers<uint8_t>("scores", 0, {1})
                               .strings("types", {"a"})
                               .numbers<int32_t>("low", 5, {1, -1})
                               .numbers<float>("nan", 6, {1, NAN})
                               .i32("negative", -1)
                               .f32("number", INFINITY)
                               .tensor("t", {1}, 24, "x")
                               .file();
  const auto contents = parse_gguf(bytes_of(file), "x.gguf").value();
  const GgufFields fields(contents.metadata, "x.gguf");
  const auto expect = [](const auto& result, std::string_view sentence) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message(), sentence);
  };
  expect(fields.numbers("scores"),
         "x.gguf: \"scores\" is an array of 1 values of type uint8, not an array of type float32");
  expect(fields.wholes("types", 0, 9),
         "x.gguf: \"types\" is an array of 1 values of type string, not a list of whole numbers");
  expect(fields.wholes("low", 0, 9), "x.gguf: element 1 of \"low\" is negative, not a whole number from 0 to 9");
  expect(fields.numbers("nan"), "x.gguf: element 1 of \"nan\" is nan, not a finite number");
  expect(fields.whole("negative", 0, 9), "x.gguf: \"negative\" is -1, not a whole number from 0 to 9");
  expect(fields.number("number", 0, 9), "x.gguf: \"number\" is inf, not a floating-point number from 0 to 9");
  expect(fields.string("negative"), "x.gguf: \"negative\" is -1, not a string");
  expect(fields.boolean("negative"), "x.gguf: \"negative\" is -1, not true or false");
}

TEST(HostileGguf, TruncationAtEveryByteIsRefused) {
  const std::string file = small().file();
  ASSERT_TRUE(parse_gguf(bytes_of(file), "x"));
  for (size_t size = 0; size < file.size(); ++size) {
    SCOPED_TRACE(size);
    const double seconds = seconds_of([&] { expect_refused(std::string_view(file).substr(0, size), ""); });
    EXPECT_LT(seconds, CRIA_SLOW_BUILD ? 0.1 : 0.01);
  }
}

void expect_refused_cheaply(const std::string& file, std::string_view phrase) {
  expect_little_used([&] { expect_refused(file, phrase); });
}

TEST(HostileGguf, BigFilesAreRefusedInLittleTimeAndMemory) {
  GgufText keys;
  for (int i = 0; i < 80'000; ++i) keys.field(std::to_string(i), 7, raw(true));
  expect_refused_cheaply(keys.u32("79999", 1).file(), "the key \"79999\" appears twice");
  GgufText tensors;
  tensors.u32("k", 1);
  for (int i = 0; i < 40'000; ++i) tensors.entry(std::to_string(i), {1}, 24, 32ULL * i);
  expect_refused_cheaply(tensors.entry("39999", {1}, 24, 0).file(), "two tensors have the name");
  GgufText strings;
  strings.array("k", 8, 240'000, std::string(240'000 * 8, '\0'));
  expect_refused_cheaply(strings.u32("k", 1).file(), "appears twice");
  expect_refused_cheaply(GgufText().u32(std::string(2'000'000, 'k'), 1).file(), "not of 1 to 65,535");
  expect_refused_cheaply(GgufText().u32("k", 1).tensor(std::string(2'000'000, 't'), {1}, 24, "x").file(), "1 to 255");
}

TEST(HostileGguf, EightyThousandKeysOpenInLessThanASecond) {
  GgufText text;
  for (int i = 0; i < 80'000; ++i) text.u32("key." + std::to_string(i), 1);
  const std::string file = text.tensor("t", {1}, 24, "x").file();
  const double seconds = seconds_of([&] { EXPECT_TRUE(parse_gguf(bytes_of(file), "x")); });
  EXPECT_LT(seconds, CRIA_SLOW_BUILD ? 10 : 1);
}

/// Changes a file at random: bytes, numbers, pieces taken out, doubled or moved.
std::string mutated(const std::string& original, std::mt19937_64& random) {
  std::string file = original;
  const auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  for (size_t changes = 1 + below(3); changes > 0 && !file.empty(); --changes) {
    const size_t at = below(file.size());
    switch (below(5)) {
      case 0: file[at] = static_cast<char>(random()); break;
      case 1: file[at] = static_cast<char>(below(4)); break;
      case 2: file.erase(at, 1 + below(8)); break;
      case 3: file.insert(at, file.substr(below(file.size()), 1 + below(40))); break;
      default: file[at] = static_cast<char>(file[at] ^ (1 << below(8))); break;
    }
  }
  return file;
}

TEST(HostileGguf, TwentyThousandMutationsAreRefusedOrSound) {
  std::mt19937_64 random(20'240'607);
  const std::string original = small().file();
  size_t accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string file = mutated(original, random);
    const auto contents = parse_gguf(bytes_of(file), "x");
    if (!contents) {
      ASSERT_GT(contents.error().message().size(), 10U);
      continue;
    }
    ++accepted;
    for (const TensorView& tensor : contents->tensors) {
      ASSERT_LE(tensor.file_offset + tensor.data.size(), file.size());
      EXPECT_EQ(tensor_bytes(tensor.shape, tensor.dtype), tensor.data.size());
    }
    for (const auto& [key, value] : contents->metadata) {
      ASSERT_GE(reinterpret_cast<const char*>(value.data.data()), file.data());
      ASSERT_LE(reinterpret_cast<const char*>(value.data.data() + value.data.size()), file.data() + file.size());
    }
  }
  EXPECT_GT(accepted, 20U) << "hardly any mutation gets past the first checks";
  EXPECT_LT(accepted, 15'000U) << "the mutations change nothing";
}

}  // namespace
}  // namespace cria::formats
