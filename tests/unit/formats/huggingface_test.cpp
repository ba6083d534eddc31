// Model folders: one file, shards with an index, shards without, a Hugging Face cache, and what is refused.
#include "formats/huggingface.h"

#include <gtest/gtest.h>

#include "fixtures.h"
#include "safetensors_text.h"
#include "temporary_folder.h"

namespace cria::formats {
namespace {

namespace fs = std::filesystem;

/// A safetensors file with bytes of these names.
std::string shard(std::initializer_list<std::string_view> names) {
  std::string header = "{";
  uint64_t offset = 0;
  for (const std::string_view name : names) {
    header += (offset == 0 ? "" : ",") + tensor_text(name, "U8", "[1]", offset, offset + 1);
    ++offset;
  }
  return safetensors_file(header + "}", offset);
}

/// A folder with config.json and an index of this weight_map (the object's text).
void write_index(const TemporaryFolder& folder, std::string_view weight_map) {
  folder.write("config.json", "{}");
  folder.write("model.safetensors.index.json", "{\"weight_map\":" + std::string(weight_map) + "}");
}

void expect_refused(const fs::path& path, ErrorCode code, std::string_view phrase) {
  const auto folder = HuggingFaceFolder::open(path);
  ASSERT_FALSE(folder) << "opened, but should say: " << phrase;
  EXPECT_EQ(folder.error().code(), code) << folder.error().message();
  EXPECT_NE(folder.error().message().find(phrase), std::string::npos) << folder.error().message();
}

TEST(HuggingFaceFolder, OpensEveryFixture) {
  size_t count = 0;
  for (const auto& path : fixture_dirs("models")) {
    const auto folder = HuggingFaceFolder::open(path);
    ASSERT_TRUE(folder) << folder.error().message();
    EXPECT_TRUE(folder->config().contains("hidden_size"));
    EXPECT_NE(folder->find("model.embed_tokens.weight"), nullptr);
    EXPECT_EQ(folder->find("input_ids"), nullptr) << "golden.safetensors is no part of the model";
    ++count;
  }
  EXPECT_GE(count, 10U);
}

TEST(HuggingFaceFolder, ReadsOneFileAndTheTexts) {
  const TemporaryFolder folder;
  folder.write("config.json", R"({"a":1})");
  folder.write("generation_config.json", R"({"top_k":40})");
  folder.write("tokenizer.json", "any text");
  folder.write("model.safetensors", shard({"y", "x"}));
  folder.write("other.safetensors", "is not looked at");
  auto opened = HuggingFaceFolder::open(folder.path());
  ASSERT_TRUE(opened) << opened.error().message();
  const HuggingFaceFolder moved = *std::move(opened);
  EXPECT_EQ(moved.names(), (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(moved.find("y")->file_offset + 1, moved.find("x")->file_offset);
  EXPECT_EQ(moved.find("z"), nullptr);
  EXPECT_EQ(moved.config(), Json({{"a", 1}}));
  ASSERT_NE(moved.generation_config(), nullptr);
  EXPECT_EQ(*moved.generation_config(), Json({{"top_k", 40}}));
  EXPECT_EQ(moved.tokenizer_json(), "any text");
  EXPECT_EQ(moved.tokenizer_config_json(), "");
}

TEST(HuggingFaceFolder, WithoutAnIndexReadsAllFiles) {
  const TemporaryFolder folder;
  folder.write("config.json", "{}");
  folder.write("b.safetensors", shard({"b"}));
  folder.write("a.safetensors", shard({"a"}));
  const auto opened = HuggingFaceFolder::open(folder.path());
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(opened->names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(opened->generation_config(), nullptr);
}

TEST(HuggingFaceFolder, WithAnIndexReadsTheNamedFilesOnly) {
  const TemporaryFolder folder;
  write_index(folder, R"({"a":"m1.safetensors","b":"m2.safetensors"})");
  folder.write("m1.safetensors", shard({"a"}));
  folder.write("m2.safetensors", shard({"b"}));
  folder.write("consolidated.safetensors", shard({"a", "b"}));
  const auto opened = HuggingFaceFolder::open(folder.path());
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(opened->names(), (std::vector<std::string>{"a", "b"}));
}

TEST(HuggingFaceFolder, RefusesAnIndexThatLeavesTheFolder) {
  const TemporaryFolder outer;
  outer.write("secret.safetensors", shard({"a"}));
  const char* names[] = {"../secret.safetensors", "/etc/x.safetensors",   "..",          "",
                         "sub/x.safetensors",     "sub\\\\x.safetensors", "config.json", "a\\u0000.safetensors",
                         "C:x.safetensors",       ".safetensors"};
  for (const char* name : names) {
    outer.write("model/config.json", "{}");
    outer.write("model/model.safetensors.index.json", R"({"weight_map":{"a":")" + std::string(name) + "\"}}");
    expect_refused(outer.path() / "model", ErrorCode::kInvalidInput, "is not the plain name of a *.safetensors file");
  }
}

TEST(HuggingFaceFolder, RefusesALinkThatLeavesTheFolder) {
  const TemporaryFolder outer;
  outer.write("secret.safetensors", shard({"a"}));
  outer.write("model/config.json", "{}");
  outer.write("model/model.safetensors.index.json", R"({"weight_map":{"a":"m.safetensors"}})");
  fs::create_symlink("../secret.safetensors", outer.path() / "model" / "m.safetensors");
  expect_refused(outer.path() / "model", ErrorCode::kInvalidInput, "a link that leads outside the folder");
}

TEST(HuggingFaceFolder, FollowsALinkInsideTheFolder) {
  const TemporaryFolder folder;
  write_index(folder, R"({"a":"m.safetensors"})");
  folder.write("real/a.bin", shard({"a"}));
  fs::create_symlink("real/a.bin", folder.path() / "m.safetensors");
  const auto opened = HuggingFaceFolder::open(folder.path());
  ASSERT_TRUE(opened) << opened.error().message();
}

TEST(HuggingFaceFolder, OpensASnapshotOfAHuggingFaceCache) {
  const TemporaryFolder cache;
  const fs::path model = cache.path() / "models--org--name";
  const fs::path snapshot = model / "snapshots" / "0123abcd";
  cache.write("models--org--name/blobs/c0", "{}");
  cache.write("models--org--name/blobs/1d", R"({"weight_map":{"a":"m.safetensors"}})");
  cache.write("models--org--name/blobs/77", shard({"a"}));
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/c0", snapshot / "config.json");
  fs::create_symlink("../../blobs/1d", snapshot / "model.safetensors.index.json");
  fs::create_symlink("../../blobs/77", snapshot / "m.safetensors");
  const auto opened = HuggingFaceFolder::open(snapshot);
  ASSERT_TRUE(opened) << opened.error().message();

  // A link to the snapshot works too; a blob that is itself a link to elsewhere does not.
  fs::create_directory_symlink(snapshot, cache.path() / "link");
  EXPECT_TRUE(HuggingFaceFolder::open(cache.path() / "link"));
  cache.write("elsewhere", shard({"a"}));
  fs::remove(model / "blobs" / "77");
  fs::create_symlink("../../elsewhere", model / "blobs" / "77");
  expect_refused(snapshot, ErrorCode::kInvalidInput, "a link that leads outside the folder");
}

TEST(HuggingFaceFolder, RefusesAnIndexThatIsNotTrue) {
  const struct {
    const char* weight_map;
    ErrorCode code;
    const char* phrase;
  } cases[] = {
      {R"({"a":"gone.safetensors"})", ErrorCode::kNotFound, "names \"gone.safetensors\", which is missing"},
      {R"({"a":"m1.safetensors","zz":"m1.safetensors"})", ErrorCode::kInvalidInput,
       "says that tensor \"zz\" is in \"m1.safetensors\", where it is not"},
      {R"({"a":"m2.safetensors","b":"m1.safetensors"})", ErrorCode::kInvalidInput,
       "says that tensor \"a\" is in \"m2.safetensors\", where it is not"},
      {R"({"a":"m1.safetensors","b":"m3.safetensors"})", ErrorCode::kInvalidInput,
       "tensor \"a\" is also in m1.safetensors"},
      {R"({"a":1})", ErrorCode::kInvalidInput, "the file of tensor \"a\" is not a string"},
      {R"([])", ErrorCode::kInvalidInput, "has no \"weight_map\" object"},
      {R"({"a":"m1.safetensors","a":"m1.safetensors"})", ErrorCode::kInvalidInput, "the key \"a\" appears twice"},
  };
  for (const auto& test : cases) {
    const TemporaryFolder folder;
    write_index(folder, test.weight_map);
    folder.write("m1.safetensors", shard({"a"}));
    folder.write("m2.safetensors", shard({"b"}));
    folder.write("m3.safetensors", shard({"a", "b"}));
    expect_refused(folder.path(), test.code, test.phrase);
  }
}

TEST(HuggingFaceFolder, RefusesTheSameTensorInTwoFiles) {
  const TemporaryFolder folder;
  folder.write("config.json", "{}");
  folder.write("1.safetensors", shard({"a"}));
  folder.write("2.safetensors", shard({"a"}));
  expect_refused(folder.path(), ErrorCode::kInvalidInput, "tensor \"a\" is also in 1.safetensors");
}

TEST(HuggingFaceFolder, SaysWhatIsSupported) {
  const TemporaryFolder folder;
  const std::string wanted = "a model is a folder with config.json, tokenizer.json and *.safetensors";
  expect_refused(folder.path() / "none", ErrorCode::kNotFound, "does not exist");
  expect_refused(folder.write("m.gguf", "GGUF"), ErrorCode::kUnsupported,
                 "is neither a folder nor a GGUF file; " + wanted);
  expect_refused(folder.write("x.safetensors", ""), ErrorCode::kUnsupported, "name the folder that it is in");
  expect_refused(folder.write("notes.txt", ""), ErrorCode::kUnsupported, "is neither a folder nor a GGUF file");

  const TemporaryFolder empty;
  expect_refused(empty.path(), ErrorCode::kNotFound, "has no config.json");
  empty.write("config.json", "{}");
  expect_refused(empty.path(), ErrorCode::kNotFound, "has no *.safetensors files");
  empty.write("model.gguf", "");
  expect_refused(empty.path(), ErrorCode::kNotFound, "name one of its *.gguf files");
  empty.write("pytorch_model.bin", "");
  expect_refused(empty.path(), ErrorCode::kNotFound, "*.bin files are not supported: convert them to safetensors");
}

TEST(HuggingFaceFolder, RefusesJsonThatIsTooLargeOrNoObject) {
  const TemporaryFolder folder;
  folder.write("model.safetensors", shard({"a"}));
  folder.write("config.json", "[]");
  expect_refused(folder.path(), ErrorCode::kInvalidInput, "config.json: is not a JSON object");
  folder.write("config.json", "");
  expect_refused(folder.path(), ErrorCode::kInvalidInput, "config.json: is not valid JSON");
  folder.write("config.json", std::string("{}\0 and more", 12));
  expect_refused(folder.path(), ErrorCode::kInvalidInput, "byte 3 is NUL");
  folder.write("config.json", "{" + std::string(1 << 20, ' ') + "}");
  expect_refused(folder.path(), ErrorCode::kInvalidInput, "is 1,048,578 bytes long, more than 1,048,576");
  std::string lists = "{\"a\":[[]";
  for (int i = 0; i < 300'000; ++i) lists += ",[]";
  folder.write("config.json", lists + "]}");
  expect_refused(folder.path(), ErrorCode::kInvalidInput, "JSON holds more than 10,000 objects and arrays");
  folder.write("config.json", "{}");
  folder.write("generation_config.json", "7");
  expect_refused(folder.path(), ErrorCode::kInvalidInput, "generation_config.json: is not a JSON object");
  fs::remove(folder.path() / "generation_config.json");
  fs::create_directory(folder.path() / "generation_config.json");
  expect_refused(folder.path(), ErrorCode::kIo, "is not a regular file");
}

}  // namespace
}  // namespace cria::formats
