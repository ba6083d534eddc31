// Model folders that are damaged or lie are refused with a sentence that names what is wrong, by the program as
// a whole. Most of it is refused before a device is opened; tests/hostile and tests/unit go into the details.
#include "e2e/expect.h"
#include "safetensors_text.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

Outcome run_model(const std::filesystem::path& path) { return run({"run", path.string(), "--prompt", "a"}); }

/// The words of a damaged folder's refusal name the file.
struct Damage {
  const char* name;
  std::function<void(const TinyModel&)> apply;
  std::vector<std::string> phrases;
};

/// Replaces the first `from` in a text file by `to`.
auto replacing(std::string file, std::string from, std::string to) {
  return [=](const TinyModel& model) { model.replace(file, from, to); };
}

auto writing(std::string file, std::string content) {
  return [=](const TinyModel& model) { model.write(file, content); };
}

auto truncating(uint64_t bytes) {
  return [=](const TinyModel& model) { std::filesystem::resize_file(model.path() / "model.safetensors", bytes); };
}

void expect_all_refused(const std::vector<Damage>& damages) {
  for (const Damage& damage : damages) {
    SCOPED_TRACE(damage.name);
    const TinyModel model;
    damage.apply(model);
    expect_refused_silently(run_model(model.path()), damage.phrases);
  }
}

TEST(DamagedModel, FilesThatAreMissing) {
  expect_all_refused({
      {"no config", [](const TinyModel& m) { m.remove("config.json"); }, {"has no config.json"}},
      {"no weights", [](const TinyModel& m) { m.remove("model.safetensors"); }, {"has no *.safetensors files"}},
      {"no tokenizer", [](const TinyModel& m) { m.remove("tokenizer.json"); }, {"has no tokenizer.json"}},
      {"config is a folder",
       [](const TinyModel& m) {
         m.remove("config.json");
         std::filesystem::create_directory(m.path() / "config.json");
       },
       {"config.json: is not a regular file"}},
      {"tokenizer is a folder",
       [](const TinyModel& m) {
         m.remove("tokenizer.json");
         std::filesystem::create_directory(m.path() / "tokenizer.json");
       },
       {"tokenizer.json: is not a regular file"}},
      {"a link to nowhere",
       [](const TinyModel& m) {
         m.remove("model.safetensors");
         std::filesystem::create_symlink("nowhere", m.path() / "model.safetensors");
       },
       {"model.safetensors"}},
  });
  expect_refused_silently(run_model("/no/such/model"), {"/no/such/model: does not exist"});
  const TinyModel tiny;
  expect_refused_silently(run_model(tiny.path() / "config.json"), {"is a file; name the folder"});
}

TEST(DamagedModel, TruncatedWeights) {
  expect_all_refused({
      {"nothing", truncating(0), {"model.safetensors: is 0 bytes long"}},
      {"half of the length", truncating(4), {"model.safetensors: is 4 bytes long"}},
      {"only the length", truncating(8), {"model.safetensors: the header claims "}},
      {"half of the header", truncating(1000), {"model.safetensors: the header claims "}},
      {"half of the data", truncating(400'000), {"model.safetensors: tensor \"", "past the end of the file (400,000"}},
      {"all but a byte", truncating(766'727), {"model.safetensors: tensor \"", "past the end of the file (766,727"}},
  });
}

TEST(DamagedModel, HeadersThatLie) {
  const auto header = [](const std::string& text, size_t data) {
    return writing("model.safetensors", safetensors_file(text, data));
  };
  expect_all_refused({
      {"longer than the file", writing("model.safetensors", with_length(1'000'000, "{}")), {"claims 1,000,000 bytes"}},
      {"2^64-1", writing("model.safetensors", with_length(~0ULL, "{}")), {"claims 18,446,744,073,709,551,615 bytes"}},
      {"no JSON", header("{\"a\": ", 0), {"model.safetensors: the header: is not valid JSON at byte 7"}},
      {"deep", header("{\"a\":" + std::string(1'000'000, '['), 0), {"\"a\" is a list"}},
      {"overlapping",
       header("{" + tensor_text("a", "U8", "[4]", 0, 4) + "," + tensor_text("b", "U8", "[4]", 2, 6) + "}", 6),
       {"tensor \"b\" begins at byte", "inside the one before it"}},
      {"overlong",
       header("{" + tensor_text("a", "U8", "[4]", 0, 4) + "}", 2),
       {"tensor \"a\" ends at byte", "past the end"}},
      {"overflowing",
       header("{" + tensor_text("a", "F32", "[4294967296,4294967296]", 0, 0) + "}", 0),
       {"tensor \"a\" has the shape [4294967296, 4294967296], whose size overflows"}},
      {"another type", replacing("model.safetensors", "\"F32\"", "\"I32\""), {"is of type I32; F32, F16, BF16 and"}},
      {"an unknown type", replacing("model.safetensors", "\"F32\"", "\"F33\""), {"has the unknown type \"F33\""}},
      {"another name", replacing("model.safetensors", "layers.2.", "layers.9."), {"has no tensor \"model.layers.2."}},
  });
}

TEST(DamagedModel, ConfigurationsThatDoNotFit) {
  expect_all_refused({
      {"no JSON", writing("config.json", "{"), {"config.json: is not valid JSON at byte"}},
      {"no object", writing("config.json", "[]"), {"config.json: is not a JSON object"}},
      {"empty", writing("config.json", ""), {"config.json: is not valid JSON"}},
      {"not UTF-8", writing("config.json", "{\"a\": \"\xff\"}"), {"config.json: is not valid UTF-8"}},
      {"deep",
       writing("config.json", std::string(100'000, '[')),
       {"config.json: JSON is nested deeper than 64 levels"}},
      {"another architecture",
       replacing("config.json", "LlamaForCausalLM", "GPT2LMHeadModel"),
       {"config.json", "\"GPT2LMHeadModel\" is not supported"}},
      {"more layers",
       replacing("config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4"),
       {"has no tensor \"model.layers.3."}},
      {"fewer layers",
       replacing("config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2"),
       {"holds the tensor \"model.layers.2.", "no place for"}},
      {"wider",
       replacing("config.json", "\"hidden_size\": 64", "\"hidden_size\": 128"),
       {"has the shape [384, 64]; the configuration makes it [384, 128]"}},
      {"negative",
       replacing("config.json", "\"hidden_size\": 64", "\"hidden_size\": -64"),
       {"\"hidden_size\" is -64, not a whole number from 1"}},
      {"huge",
       replacing("config.json", "\"vocab_size\": 384", "\"vocab_size\": 18446744073709551615"),
       {"\"vocab_size\" is 18446744073709551615, not a whole number"}},
      {"special token",
       replacing("config.json", "\"eos_token_id\": 2", "\"eos_token_id\": 384"),
       {"\"eos_token_id\" holds 384, not a token below the vocabulary size 384"}},
      {"generation defaults",
       writing("generation_config.json", R"({"temperature": -1})"),
       {"generation_config.json: \"temperature\" is -1"}},
  });
}

TEST(DamagedModel, TokenizersThatAreNone) {
  expect_all_refused({
      {"empty", writing("tokenizer.json", ""), {"tokenizer.json"}},
      {"no JSON", writing("tokenizer.json", "{\"model\""), {"tokenizer.json: is not valid JSON"}},
      {"another kind", writing("tokenizer.json", R"({"model": {"type": "Unigram"}})"), {"tokenizer.json", "Unigram"}},
      {"deep", writing("tokenizer.json", std::string(100'000, '[')), {"tokenizer.json: JSON is nested deeper"}},
      {"settings", writing("tokenizer_config.json", "nothing"), {"tokenizer_config.json"}},
  });
}

TEST(DamagedModel, IndexesThatLeadAway) {
  const auto index = [](const std::string& map) {
    return [=](const TinyModel& m) {
      std::filesystem::rename(m.path() / "model.safetensors", m.path() / "a.safetensors");
      m.write("model.safetensors.index.json", "{\"weight_map\": " + map + "}");
    };
  };
  expect_all_refused({
      {"no map", index("[]"), {"index.json: has no \"weight_map\" object"}},
      {"outside",
       index(R"({"t": "../a.safetensors"})"),
       {"names the file \"../a.safetensors\", which is not the plain name"}},
      {"absolute", index(R"({"t": "/etc/passwd"})"), {"names the file \"/etc/passwd\", which is not the plain name"}},
      {"missing", index(R"({"t": "b.safetensors"})"), {"names \"b.safetensors\", which is missing"}},
      {"wrong",
       index(R"({"t": "a.safetensors"})"),
       {"says that tensor \"t\" is in \"a.safetensors\", where it is not"}},
  });
}

}  // namespace
}  // namespace cria::e2e
