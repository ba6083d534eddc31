// GGUF files wherever a folder may stand, `cria quantize` and `cria perplexity`, and llama.cpp beside them.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <thread>

#include "e2e/expect.h"
#include "sparse_model.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

namespace fs = std::filesystem;

/// The default model as a GGUF file.
class GgufFiles : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    expect_success(run({"quantize", default_model_path().string(), path("f16.gguf"), "--weights", "f16"}));
  }
  static void TearDownTestSuite() { folder_ = nullptr; }
  static std::string path(const std::string& name) { return (folder_->path() / name).string(); }

  /// What a model writes after "Once upon a time", greedily.
  static std::string greedy(const std::string& model) {
    const Outcome outcome = run({"run", model, "--prompt", "Once upon a time", "--temperature", "0",
                                 "--repetition-penalty", "1", "--max-tokens", "32"});
    expect_success(outcome);
    return outcome.out;
  }

  static inline std::unique_ptr<TemporaryFolder> folder_;
};

TEST_F(GgufFiles, StandWhereverAFolderMay) {
  EXPECT_EQ(greedy(path("f16.gguf")), greedy(default_model_path().string()));
  const std::string text = "The old king <s> had 3 sons.";
  EXPECT_EQ(run({"tokenize", path("f16.gguf"), "--text", text}).out,
            run({"tokenize", default_model_path().string(), "--text", text}).out);
  const Json file = json_of(run({"inspect", path("f16.gguf"), "--json"}));
  const Json folder = json_of(run({"inspect", default_model_path().string(), "--json"}));
  EXPECT_EQ(file.at("model"), folder.at("model"));
  EXPECT_EQ(file.at("parameters"), folder.at("parameters"));
  expect_holds(run({"inspect", path("f16.gguf"), "--tensors"}).out, "blk.5.attn_q.weight");
  // A folder that holds nothing else is as good.
  fs::create_directory(path("folder"));
  fs::copy_file(path("f16.gguf"), path("folder/model.gguf"));
  EXPECT_EQ(run({"tokenize", path("folder"), "--text", text}).out,
            run({"tokenize", path("f16.gguf"), "--text", text}).out);
}

TEST_F(GgufFiles, DamagedOnesAreASentence) {
  std::ofstream(path("short.gguf"), std::ios::binary) << file_text(path("f16.gguf")).substr(0, 1'000'000);
  expect_refused_silently(run({"run", path("short.gguf"), "--prompt", "a"}),
                          {"short.gguf: tensor \"", "past the end of the file (1,000,000 bytes)"});
  std::ofstream(path("other.gguf")) << "GGML";
  expect_refused_silently(run({"run", path("other.gguf"), "--prompt", "a"}),
                          {"other.gguf: does not begin with the word GGUF"});
  expect_refused_silently(run({"run", path("none.gguf"), "--prompt", "a"}), {"none.gguf: does not exist"});
}

TEST_F(GgufFiles, QuantizeTellsWhatIsWrong) {
  expect_refused_silently(run({"quantize", path("f16.gguf"), path("f16.gguf")}), {"is what is being read"});
  expect_refused_silently(run({"quantize", path("f16.gguf"), path("x.gguf"), "--weights", "int3"}),
                          {"there is no weight type \"int3\""});
  fs::create_directory(path("there"));
  expect_refused_silently(run({"quantize", path("f16.gguf"), path("there")}), {"exists already"});
  expect_refused_silently(run({"quantize", path("f16.gguf"), path("no/such/x.gguf")}), {"cannot be created"});
  expect_refused_silently(run({"quantize", path("f16.gguf")}), {"OUT"});
}

std::map<std::string, std::string> contents(const fs::path& file_or_folder) {
  const auto read = [](const fs::path& file) {
    std::ostringstream bytes;
    bytes << std::ifstream(file, std::ios::binary).rdbuf();
    return bytes.str();
  };
  if (!fs::is_directory(file_or_folder)) return {{"", read(file_or_folder)}};
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(file_or_folder)) {
    files[entry.path().filename().string()] = read(entry.path());
  }
  return files;
}

TEST(Quantize, KilledAtAnyMomentItLeavesAllOrNothing) {
  std::mt19937 random(11);
  size_t whole = 0;
  size_t absent = 0;
  for (const std::string name : {"out.gguf", "out"}) {
    const TemporaryFolder folder;
    const auto launch = [&](const std::string& to) {
      return Launch{
          .arguments = {"quantize", default_model_path().string(), (folder.path() / to).string(), "--weights", "int8"}};
    };
    const auto start = std::chrono::steady_clock::now();
    expect_success(run(launch("right" + name)));
    const std::chrono::duration<double, std::micro> usual = std::chrono::steady_clock::now() - start;
    const auto right = contents(folder.path() / ("right" + name));
    for (int i = 0; i < 25; ++i) {
      const fs::path out = folder.path() / (std::to_string(i) + name);
      Program program(launch(out.filename().string()));
      // The last moments are the ones of interest.
      const double share = 1.1 * std::sqrt(std::uniform_real_distribution<>(0, 1)(random));
      std::this_thread::sleep_for(usual * share);
      program.send(SIGKILL);
      program.wait();
      const bool is_there = fs::exists(out);
      ++(is_there ? whole : absent);
      EXPECT_TRUE(!is_there || contents(out) == right) << out;
    }
  }
  EXPECT_GT(whole, 0U);
  EXPECT_GT(absent, 0U);
}

TEST(Quantize, AnInterruptLeavesNothingBehind) {
  for (const std::string name : {"out.gguf", "out"}) {
    const TemporaryFolder in;
    const TemporaryFolder out;
    if (!write_sparse_model(in, 1U << 15, 1U << 12)) GTEST_SKIP() << "no sparse files here";
    Program program(
        Launch{.arguments = {"quantize", in.path().string(), (out.path() / name).string(), "--weights", "int4"}});
    while (out.names().empty()) std::this_thread::yield();  // it has begun to write
    program.send(SIGINT);
    expect_refused(program.wait(), {"interrupted while converting"});
    EXPECT_TRUE(out.names().empty()) << out.names().front();
  }
}

TEST(PerplexityCommand, TellsValueErrorAndWindows) {
  const TinyModel tiny;
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 40; ++i) text += "word " + std::to_string(i) + " and ";
  const std::string file = folder.write("text.txt", text).string();
  const Outcome outcome =
      run({"perplexity", tiny.path().string(), "--file", file, "--window", "64", "--stride", "32", "--json"});
  expect_success(outcome);
  const Json json = json_of(outcome);
  const uint64_t tokens = json.at("tokens");
  const uint64_t windows = (tokens - 64) / 32 + 1;
  EXPECT_EQ(json.at("windows"), windows);
  EXPECT_EQ(json.at("predictions"), 63 + (windows - 1) * 32);
  EXPECT_GT(json.at("perplexity"), 1);
  EXPECT_GT(json.at("standard_error"), 0);
  expect_holds(run({"perplexity", tiny.path().string(), "--file", file, "--window", "64"}).out, "perplexity ");
  expect_refused_silently(run({"perplexity", tiny.path().string(), "--file", file, "--window", "512"}),
                          {"fewer than one window of 512"});
  expect_refused_silently(run({"perplexity", tiny.path().string(), "--file", file, "--window", "513"}),
                          {"a window of 513 tokens is not from 2 to the context of 512"});
  expect_refused_silently(run({"perplexity", tiny.path().string(), "--file", file, "--window", "64", "--stride", "65"}),
                          {"a stride of 65 tokens is not from 1 to the window of 64"});
  expect_refused_silently(run({"perplexity", tiny.path().string(), "--file", "/no/such"}), {"/no/such"});
}

/// The standard output of a program.
std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = ::popen((command + " 2>/dev/null").c_str(), "r");
  for (int c = 0; pipe != nullptr && (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  if (pipe != nullptr) ::pclose(pipe);
  return text;
}

std::string trimmed(std::string text) {
  const auto is_blank = [](unsigned char c) { return std::isspace(c) != 0; };
  while (!text.empty() && is_blank(static_cast<unsigned char>(text.back()))) text.pop_back();
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_blank));
  return text;
}

fs::path peers() { return source_path(".deps/peers"); }
bool has_peers() { return fs::exists(peers() / "llama-quantize"); }
constexpr const char* kNoPeers = "llama.cpp is not here: bench/peers.sh gets it";

void llama_quantize(const std::string& options, const std::string& from, const std::string& to, const char* type) {
  output_of(fmt::format("{} {} {} {} {}", (peers() / "llama-quantize").string(), options, from, to, type));
}

constexpr const char* kSureText =
    "Once upon a time, there was a little girl named Lily. She loved to play with her toys and";

/// llama.cpp reads our files, we read its, and both write the same text.
TEST_F(GgufFiles, LlamaCppWritesTheSameText) {
  if (!has_peers()) GTEST_SKIP() << kNoPeers;
  const auto theirs = [&](const std::string& model) {
    return trimmed(
        output_of(fmt::format("{} -m {} -p 'Once upon a time' --temp 0 -n 40 -no-cnv --no-warmup --device none "
                              "-t 1",
                              (peers() / "llama-completion").string(), model)));
  };
  const auto expect_same = [&](const std::string& model) {  // they are asked for more, and may keep the last token back
    // What comes behind are ties ("eat" or "have" in Q8_0, then "candy" or "yummy food" even in f16), which roundings
    // decide.
    const std::string ours = trimmed(greedy(model)).substr(0, std::string_view(kSureText).size());
    EXPECT_EQ(theirs(model).substr(0, ours.size()), ours) << model;
  };
  expect_same(path("f16.gguf"));
  for (const char* type : {"Q8_0", "Q4_0"}) {
    const std::string file = path(std::string(type) + ".gguf");
    llama_quantize("", path("f16.gguf"), file, type);
    expect_same(file);
  }
  for (const char* type : {"int8", "int4"}) {
    const std::string file = path(std::string(type) + ".gguf");
    expect_success(run({"quantize", path("f16.gguf"), file, "--weights", type}));
    expect_same(file);
  }
}

/// Its blocks mean to us what they mean to llama.cpp, which here decodes them to f32 for comparison. (Texts need not be
/// the same: with these types it rounds activations to 8 bits in another way, and near ties fall otherwise.)
TEST_F(GgufFiles, BlocksPredictWhatLlamaCppDecodesThemTo) {
  if (!has_peers()) GTEST_SKIP() << kNoPeers;
  const std::string text = path("text.txt");
  std::ofstream(text) << file_text(source_path("tests/golden/text/stories-valid.txt")).substr(0, 700);
  const auto perplexity = [&](const std::string& model) -> double {
    const Outcome outcome = run({"perplexity", model, "--file", text, "--window", "64", "--json"});
    expect_success(outcome);
    return json_of(outcome).at("perplexity");
  };
  for (const char* type : {"Q4_K_M", "Q2_K", "IQ4_XS"}) {
    llama_quantize("", path("f16.gguf"), path("blocks.gguf"), type);
    llama_quantize("--allow-requantize", path("blocks.gguf"), path("floats.gguf"), "F32");
    // Some matrices go through f16, a relative 2^-11 of each weight.
    EXPECT_NEAR(perplexity(path("blocks.gguf")) / perplexity(path("floats.gguf")), 1, 1e-3) << type;
  }
}

/// The same of a made-up model whose rows are whole super-blocks, so that nothing is converted.
TEST_F(GgufFiles, SuperBlocksPredictWhatLlamaCppDecodesThemTo) {
  if (!has_peers()) GTEST_SKIP() << kNoPeers;
  const std::string text = path("text.txt");
  std::ofstream(text) << file_text(source_path("tests/golden/text/stories-valid.txt")).substr(0, 700);
  output_of(fmt::format("{} hidden=512,layers=4,heads=8,kv_heads=4,intermediate=768,vocab=2000 f16 {}",
                        (peers() / "make-gguf").string(), path("made-up.gguf")));
  const auto perplexity = [&](const std::string& model) -> double {
    const Outcome outcome = run({"perplexity", model, "--file", text, "--window", "64", "--kv-type", "f32", "--json"});
    expect_success(outcome);
    EXPECT_EQ(outcome.err.find("stored as f16"), std::string::npos) << outcome.err;
    return json_of(outcome).at("perplexity");
  };
  for (const char* type : {"Q4_K_M", "Q5_K_M", "Q6_K"}) {
    llama_quantize("", path("made-up.gguf"), path("super.gguf"), type);
    llama_quantize("--allow-requantize", path("super.gguf"), path("floats.gguf"), "F32");
    // Products of prompts are in f32; the text's first tokens may go through 8 bits.
    EXPECT_NEAR(perplexity(path("super.gguf")) / perplexity(path("floats.gguf")), 1, 1e-4) << type;
  }
}

/// What bench/compare.sh measures as a mixture is what llama.cpp would make of the same model.
TEST_F(GgufFiles, MadeUpMixturesHaveTheTypesThatLlamaCppChooses) {
  if (!has_peers()) GTEST_SKIP() << kNoPeers;
  const auto make = [&](const std::string& shape, const char* type, const std::string& file) {
    output_of(fmt::format("{} {} {} {}", (peers() / "make-gguf").string(), shape, type, file));
  };
  const auto types = [&](const std::string& file) {
    std::map<std::string, std::string> types;
    const Json description = json_of(run({"inspect", file, "--tensors", "--json"}));
    for (const Json& tensor : description.at("tensors")) {
      types.emplace(tensor.at("name"), tensor.at("type"));
    }
    return types;
  };
  for (const std::string shape : {"hidden=256,layers=17,heads=4,kv_heads=2,intermediate=512,vocab=300",
                                  "hidden=256,layers=80,heads=4,kv_heads=1,intermediate=256,vocab=300,tied=1"}) {
    make(shape, "f16", path("floats.gguf"));
    for (const auto& [ours, theirs] : {std::pair("q4_k_m", "Q4_K_M"), std::pair("q5_k_m", "Q5_K_M")}) {
      make(shape, ours, path("ours.gguf"));
      llama_quantize("", path("floats.gguf"), path("theirs.gguf"), theirs);
      EXPECT_EQ(types(path("ours.gguf")), types(path("theirs.gguf"))) << theirs << ", " << shape;
    }
  }
}

}  // namespace
}  // namespace cria::e2e
