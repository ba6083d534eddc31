// Malformed safetensors files are refused with a sentence that says why, quickly and in little memory.
#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "resource_limits.h"
#include "safetensors_text.h"

namespace cria::formats {
namespace {

constexpr uint64_t kFar = 1ULL << 63;

/// Checks that the file is refused, that the message names the file and holds the phrase, and is short.
void expect_refused(std::string_view file, std::string_view phrase) {
  const auto header = parse_safetensors(bytes_of(file), "x.safetensors");
  ASSERT_FALSE(header) << "accepted, but should say: " << phrase;
  EXPECT_EQ(header.error().code(), ErrorCode::kInvalidInput);
  const std::string message = header.error().message();
  EXPECT_TRUE(message.starts_with("x.safetensors: ")) << message;
  EXPECT_NE(message.find(phrase), std::string::npos) << message;
  EXPECT_LT(message.size(), 700U) << message;
}

struct Case {
  const char* name;
  std::string file;
  const char* phrase;
};

/// One tensor "t" of F32 with this shape, in a file of `data_bytes` of data.
std::string one(std::string_view shape, uint64_t begin, uint64_t end, size_t data_bytes) {
  return safetensors_file("{" + tensor_text("t", "F32", shape, begin, end) + "}", data_bytes);
}

/// Two tensors of bytes, [b1, e1) and [b2, e2).
std::string two(uint64_t b1, uint64_t e1, uint64_t b2, uint64_t e2, size_t data_bytes) {
  const auto shape = [](uint64_t begin, uint64_t end) { return "[" + std::to_string(end - begin) + "]"; };
  return safetensors_file(
      "{" + tensor_text("a", "U8", shape(b1, e1), b1, e1) + "," + tensor_text("b", "U8", shape(b2, e2), b2, e2) + "}",
      data_bytes);
}

std::vector<Case> length_cases() {
  return {
      {"empty", "", "is 0 bytes long, too short"},
      {"seven bytes", "1234567", "is 7 bytes long, too short"},
      {"length 0", with_length(0, "{}"), "the header claims 0 bytes, outside 2 to 100,000,000"},
      {"length 1", with_length(1, "{}"), "claims 1 bytes, outside 2"},
      {"beyond the file", with_length(3, "{}"), "claims 3 bytes, but the file has only 2 after its length"},
      {"length alone", with_length(2, ""), "but the file has only 0"},
      {"100,000,001", with_length(100'000'001, "{}"), "claims 100,000,001 bytes, outside 2 to 100,000,000"},
      {"100,000,000", with_length(100'000'000, "{}"), "but the file has only 2"},
      {"2^63", with_length(kFar, "{}"), "claims 9,223,372,036,854,775,808 bytes, outside"},
      {"2^64-1", with_length(~0ULL, "{}"), "claims 18,446,744,073,709,551,615 bytes, outside"},
      {"2^64-8", with_length(~7ULL, "{}"), "outside"},
  };
}

std::vector<Case> json_cases() {
  const std::string t = tensor_text("t", "F32", "[1]", 0, 4);
  return {
      {"not UTF-8", safetensors_file("{\"\xff\":{}}"), "is not valid UTF-8"},
      {"overlong UTF-8", safetensors_file("{\"\xc0\xaf\":{}}"), "is not valid UTF-8"},
      {"lone surrogate", safetensors_file(R"({"\ud800":{}})"), "is not valid JSON"},
      {"an array", safetensors_file("[]"), "the header is not a JSON object"},
      {"a number", safetensors_file("12"), "the header is not a JSON object"},
      {"blanks first", safetensors_file("  {}"), "it does not begin with {"},
      {"byte order mark", safetensors_file("\xef\xbb\xbf{}"), "it does not begin with {"},
      {"two objects", safetensors_file("{}{}"), "is not valid JSON at byte 3"},
      {"NUL after the end", safetensors_file(std::string_view("{}\0x", 4)), "byte 3 is NUL"},
      {"unfinished", safetensors_file("{\"a\":"), "is not valid JSON"},
      {"comment", safetensors_file("{/**/}"), "is not valid JSON"},
      {"trailing comma", safetensors_file("{" + t + ",}", 4), "is not valid JSON"},
      {"NaN", safetensors_file(R"({"t":NaN})"), "is not valid JSON"},
      {"huge number", safetensors_file(R"({"t":1e999})"), "a number outside the range of a double"},
      {"duplicate tensor", safetensors_file("{" + t + "," + t + "}", 4), "the name \"t\" appears twice"},
      {"duplicate by escape", safetensors_file("{" + t + "," + tensor_text("\\u0074", "F32", "[1]", 0, 4) + "}", 4),
       "the name \"t\" appears twice"},
      {"duplicate metadata", safetensors_file(R"({"__metadata__":{},"__metadata__":{}})"), "appears twice"},
      {"duplicate metadata key", safetensors_file(R"({"__metadata__":{"k":"1","k":"2"}})"),
       "the metadata \"k\" appears twice"},
      {"metadata is a string", safetensors_file(R"({"__metadata__":"x"})"), "\"__metadata__\" is \"x\", not an object"},
      {"metadata of numbers", safetensors_file(R"({"__metadata__":{"k":1}})"), "the metadata \"k\" is 1, not a string"},
      {"metadata of null", safetensors_file(R"({"__metadata__":{"k":null}})"), "is null, not a string"},
      {"metadata of objects", safetensors_file(R"({"__metadata__":{"k":{}}})"), "is an object, not a string"},
      {"metadata of lists", safetensors_file(R"({"__metadata__":{"k":[]}})"), "is a list, not a string"},
  };
}

std::vector<Case> field_cases() {
  const auto tensor = [](std::string_view fields) {
    return safetensors_file("{\"t\":" + std::string(fields) + "}", 4);
  };
  return {
      {"a tensor that is null", tensor("null"), "\"t\" is null, not an object"},
      {"a tensor that is a list", tensor("[]"), "\"t\" is a list, not an object"},
      {"no fields", tensor("{}"), "tensor \"t\" has no \"dtype\""},
      {"no shape", tensor(R"({"dtype":"F32","data_offsets":[0,4]})"), "has no \"shape\""},
      {"no offsets", tensor(R"({"dtype":"F32","shape":[1]})"), "has no \"data_offsets\""},
      {"dtype twice", tensor(R"({"dtype":"F32","dtype":"F32"})"), "has \"dtype\" twice"},
      {"unknown field", tensor(R"({"dtype":"F32","stride":[1]})"), "has the unknown field \"stride\""},
      {"unknown dtype", tensor(R"({"dtype":"F31"})"), "has the unknown type \"F31\""},
      {"lower-case dtype", tensor(R"({"dtype":"f32"})"), "has the unknown type \"f32\""},
      {"dtype is a number", tensor(R"({"dtype":32})"), "has the \"dtype\" 32, not a string"},
      {"dtype is a list", tensor(R"({"dtype":["F32"]})"), "has the \"dtype\" a list, not a string"},
      {"shape is a number", tensor(R"({"shape":4})"), "has the \"shape\" 4, not a list"},
      {"shape is an object", tensor(R"({"shape":{}})"), "has the \"shape\" an object, not a list"},
      {"negative dimension", tensor(R"({"shape":[-1]})"), "has the dimension -1, not a whole number"},
      {"minus zero", tensor(R"({"shape":[-0]})"), "not a whole number"},
      {"fractional dimension", tensor(R"({"shape":[1.5]})"), "has the dimension 1.5, not a whole number"},
      {"dimension 1.0", tensor(R"({"shape":[1.0]})"), "has the dimension 1.0, not a whole number"},
      {"dimension 2^64", tensor(R"({"shape":[18446744073709551616]})"), "has the dimension 18446744073709551616"},
      {"dimension true", tensor(R"({"shape":[true]})"), "has the dimension true"},
      {"dimension in a list", tensor(R"({"shape":[[1]]})"), "has the dimension a list"},
      {"dimension as text", tensor(R"({"shape":["1"]})"), "has the dimension \"1\""},
      {"nine dimensions", tensor(R"({"shape":[1,1,1,1,1,1,1,1,1]})"), "has more than 8 dimensions"},
      {"no offset", tensor(R"({"data_offsets":[]})"), "has 0 \"data_offsets\", not 2"},
      {"one offset", tensor(R"({"data_offsets":[0]})"), "has 1 \"data_offsets\", not 2"},
      {"three offsets", tensor(R"({"data_offsets":[0,4,4]})"), "has more than 2 \"data_offsets\""},
      {"negative offset", tensor(R"({"data_offsets":[-4,0]})"), "has the data offset -4, not a whole number"},
      {"offset as text", tensor(R"({"data_offsets":["0",4]})"), "has the data offset \"0\""},
  };
}

std::vector<Case> range_cases() {
  return {
      {"trailing byte", one("[1]", 0, 4, 5), "has 1 bytes after it"},
      {"data without tensors", safetensors_file("{}", 9), "has 9 bytes after it"},
      {"not at 0", one("[1]", 4, 8, 8), "tensor \"t\" begins at byte 66, after a hole of 4 bytes"},
      {"hole", two(0, 2, 3, 4, 4), "tensor \"b\" begins at byte 116, after a hole of 1 bytes"},
      {"overlap", two(0, 3, 2, 4, 4), "tensor \"b\" begins at byte 115, inside the one before it (up to 116)"},
      {"same place", two(0, 4, 0, 4, 4), "inside the one before it"},
      {"end before begin", one("[1]", 4, 0, 4), "ends at byte 0 of the data, before its begin at 4"},
      {"past the end", one("[2]", 0, 8, 7), "ends at byte 70, past the end of the file (69 bytes)"},
      {"end 2^64-1", one("[2]", 0, ~0ULL, 8), "ends at byte 18,446,744,073,709,551,615, past the end"},
      {"begin and end 2^63", one("[0]", kFar, kFar, 8), "past the end of the file"},
      {"too small for its shape", one("[2]", 0, 4, 4), "takes 4 bytes, but its shape [2] of F32 makes 8"},
      {"too large for its shape", one("[0]", 0, 4, 4), "takes 4 bytes, but its shape [0] of F32 makes 0"},
      {"shape overflows", one("[4294967296,4294967296,2]", 0, 4, 4), "whose size overflows 64 bits"},
      {"shape overflows to 0", one("[4294967296,4294967296]", 0, 0, 0),
       "has the shape [4294967296, 4294967296], whose size overflows 64 bits"},
      {"bytes overflow to 0", one("[4611686018427387904]", 0, 0, 0), "whose size overflows 64 bits"},
      {"bytes overflow to 4", one("[4611686018427387905]", 0, 4, 4), "whose size overflows 64 bits"},
      {"zero hides an overflow", one("[4294967296,4294967296,0]", 0, 0, 0), "whose size overflows 64 bits"},
  };
}

TEST(HostileSafetensors, EveryMalformedKindIsRefusedByName) {
  for (const auto& cases : {length_cases(), json_cases(), field_cases(), range_cases()}) {
    for (const Case& test : cases) {
      SCOPED_TRACE(test.name);
      expect_refused(test.file, test.phrase);
    }
  }
}

std::string small_file() {
  return safetensors_file("{\"__metadata__\":{\"format\":\"pt\"}," + tensor_text("model.a", "F32", "[2,2]", 0, 16) +
                              "," + tensor_text("model.b", "BF16", "[3]", 16, 22) + "," +
                              tensor_text("model.c", "I8", "[]", 22, 23) + "}",
                          23);
}

TEST(HostileSafetensors, TruncationAtEveryByteIsRefused) {
  const std::string file = small_file();
  ASSERT_TRUE(parse_safetensors(bytes_of(file), "x"));
  for (size_t size = 0; size < file.size(); ++size) {
    SCOPED_TRACE(size);
    const double seconds = seconds_of([&] { expect_refused(std::string_view(file).substr(0, size), ""); });
    EXPECT_LT(seconds, CRIA_SLOW_BUILD ? 0.1 : 0.01);
  }
}

TEST(HostileSafetensors, RealFilesTruncatedAnywhereAreRefused) {
  const std::filesystem::path models = std::filesystem::path(CRIA_SOURCE_DIR) / "tests/golden/models";
  for (const char* name : {"llama-mha-f32", "llama-gqa-tied-bf16"}) {
    std::ifstream stream(models / name / "model.safetensors", std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    const auto whole = parse_safetensors(bytes_of(file), "x");
    ASSERT_TRUE(whole) << whole.error().message();
    const size_t data = whole->tensors.front().file_offset;
    for (size_t size = 0; size < file.size(); size += size < data ? 1 : 997) {  // a prime: every alignment
      SCOPED_TRACE(size);
      expect_refused(std::string_view(file).substr(0, size), size < data ? "bytes" : "past the end of the file");
    }
  }
}

/// Repeats `text` until it is `bytes` long or a little more.
std::string repeated(std::string_view text, size_t bytes) {
  std::string all;
  while (all.size() < bytes) all += text;
  return all;
}

/// `count` entries made by `entry(i)`, with commas between.
template <typename Entry>
std::string listed(size_t count, const Entry& entry) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += (i == 0 ? "" : ",") + entry(i);
  return all;
}

constexpr size_t kBig = 2'000'000;

std::vector<Case> big_cases() {
  const auto header = [](const std::string& text) { return safetensors_file(text); };
  return {
      {"lists 10^6 deep", header("{\"t\":" + repeated("[", 1'000'000)), "\"t\" is a list"},
      {"objects deep", header(repeated("{\"a\":", kBig)), "has the unknown field \"a\""},
      {"lists deep in metadata", header("{\"__metadata__\":{\"k\":" + repeated("[", kBig)), "is a list"},
      {"lists deep in a shape", header("{\"t\":{\"shape\":" + repeated("[", kBig)), "has the dimension a list"},
      {"a million dimensions", header("{\"t\":{\"shape\":[0" + repeated(",0", kBig) + "]}}"), "more than 8 dimensions"},
      {"a million offsets", header("{\"t\":{\"data_offsets\":[0" + repeated(",0", kBig) + "]}}"), "more than 2"},
      {"a name of 2 MB", header("{\"" + repeated("x", kBig) + "\":1}"), "xx…\" is 1, not an object"},
      {"a name of 2 MB, escaped", header("{\"" + repeated("\\u0001", kBig) + "\":1}"), "not an object"},
      {"a type of 2 MB", header("{\"t\":{\"dtype\":\"" + repeated("\xc3\xa9", kBig) + "\"}}"), "é…\""},
      {"a number of 2 MB", header("{\"t\":" + repeated("1", kBig) + "}"), "outside the range of a double"},
      {"a fraction of 2 MB", header("{\"t\":{\"shape\":[0." + repeated("1", kBig) + "]}}"), "has the dimension 0.11"},
      {"blanks without end", header("{" + repeated(" ", kBig)), "is not valid JSON"},
      {"metadata of 2 MB, then wrong",
       header("{\"__metadata__\":{" + listed(150'000, [](size_t i) { return "\"" + std::to_string(i) + "\":\"\""; }) +
              "},\"t\":0}"),
       "\"t\" is 0, not an object"},
      {"30,000 tensors, the last wrong",
       header("{" + listed(30'000, [](size_t i) { return tensor_text(std::to_string(i), "F64", "[0]", 0, 0); }) +
              ",\"t\":0}"),
       "\"t\" is 0, not an object"},
      {"2 MB of data too much", safetensors_file("{}", kBig), "has 2,000,000 bytes after it"},
  };
}

TEST(HostileSafetensors, BigFilesAreRefusedInLittleTimeAndMemory) {
  for (const Case& test : big_cases()) {
    SCOPED_TRACE(test.name);
    expect_little_used([&] { expect_refused(test.file, test.phrase); });
  }
}

TEST(HostileSafetensors, EightyThousandTensorsOpenInLessThanASecond) {
  const std::string file = safetensors_file(
      "{" + listed(80'000, [](size_t i) { return tensor_text("tensor." + std::to_string(i), "U8", "[1]", i, i + 1); }) +
          "}",
      80'000);
  const double seconds = seconds_of([&] {
    const auto header = parse_safetensors(bytes_of(file), "x");
    ASSERT_TRUE(header) << header.error().message();
    EXPECT_EQ(header->tensors.size(), 80'000U);
  });
  EXPECT_LT(seconds, CRIA_SLOW_BUILD ? 10 : 1);
}

/// Changes a file at random: bytes, digits, pieces taken out, doubled or moved, the length.
std::string mutated(const std::string& original, std::mt19937_64& random) {
  std::string file = original;
  const auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  static constexpr std::string_view kTelling = "{}[]\",:0123456789-.eE\\ \x00\xff\x80tfn";
  for (size_t changes = 1 + below(4); changes > 0 && !file.empty(); --changes) {
    const size_t at = below(file.size());
    switch (below(6)) {
      case 0: file[at] = static_cast<char>(random()); break;
      case 1: file[at] = kTelling[below(kTelling.size())]; break;
      case 2: file.erase(at, 1 + below(8)); break;
      case 3: file.insert(at, file.substr(below(file.size()), 1 + below(40))); break;
      case 4: file.insert(at, 1, kTelling[below(kTelling.size())]); break;
      default: file[below(std::min<size_t>(8, file.size()))] = static_cast<char>(random()); break;
    }
    if (file.size() > 8 && below(2) == 0) {  // otherwise most would end at a wrong length
      const size_t header_end = std::min(file.size(), file.rfind('}') + 1);
      file.replace(0, 8, with_length(header_end > 8 ? header_end - 8 : 0, ""));
    }
  }
  return file;
}

/// What must hold of every file that is accepted.
void expect_sound(const SafetensorsHeader& header, const std::string& file) {
  uint64_t covered = 0;
  for (const TensorView& tensor : header.tensors) {
    ASSERT_LE(tensor.file_offset + tensor.data.size(), file.size());
    EXPECT_EQ(reinterpret_cast<const char*>(tensor.data.data()), file.data() + tensor.file_offset);
    EXPECT_EQ(tensor_bytes(tensor.shape, tensor.dtype), tensor.data.size());
    covered += tensor.data.size();
  }
  EXPECT_LE(covered, file.size());
}

TEST(HostileSafetensors, TwentyThousandMutationsAreRefusedOrSound) {
  std::mt19937_64 random(20'240'607);
  const std::string original = small_file();
  size_t accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string file = mutated(original, random);
    const auto header = parse_safetensors(bytes_of(file), "x");
    if (header) {
      ++accepted;
      expect_sound(*header, file);
    } else {
      ASSERT_GT(header.error().message().size(), 10U);
    }
  }
  EXPECT_GT(accepted, 20U) << "hardly any mutation gets past the first checks";
  EXPECT_LT(accepted, 10'000U) << "the mutations change nothing";
}

}  // namespace
}  // namespace cria::formats
