// All fuzz targets without libFuzzer: the inputs of the corpus as they are, then changed at random for a short time
// (CRIA_FUZZ_SECONDS for each target). An input that ends the process is kept, and named.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "fuzz_target.h"

namespace cria::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kSecondsOfOneInput = 20;

/// What the handler of signals must know.
std::string_view the_input;
std::string the_finding;  // the name of the file that it is written to

/// Writes the input that did it, and lets the signal do its work.
void keep_input(int signal) {
  const int file = ::open(the_finding.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const bool is_kept = file >= 0 && ::write(file, the_input.data(), the_input.size()) >= 0;
  const std::string_view words = is_kept ? "\nthe input that did this is in " : "\nthe input cannot be kept in ";
  for (const std::string_view part : {words, std::string_view(the_finding), std::string_view("\n")}) {
    if (::write(STDERR_FILENO, part.data(), part.size()) < 0) break;
  }
  std::signal(signal, SIG_DFL);
  ::raise(signal);
}

void run(const Target& target, std::string_view input) {
  // A copy of the exact size, so that a sanitizer sees what lies behind.
  const std::vector<char> copy(input.begin(), input.end());
  the_input = {copy.data(), copy.size()};
  ::alarm(kSecondsOfOneInput);
  target.run(the_input);
  ::alarm(0);
}

std::string file_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> corpus_of(const Target& target) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(CRIA_SOURCE_DIR "/tests/fuzz/corpus") / target.name)) {
    files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<std::string> inputs(files.size());
  std::ranges::transform(files, inputs.begin(), file_text);
  return inputs;
}

/// The words of NAME.dict: lines of "…" with \\, \" and \xNN in them, as libFuzzer reads them.
std::vector<std::string> words_of(const Target& target) {
  std::ifstream file(fs::path(CRIA_SOURCE_DIR "/tests/fuzz") / (std::string(target.name) + ".dict"));
  std::vector<std::string> words;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with('"')) continue;
    std::string word;
    for (size_t at = 1; at + 1 < line.size(); ++at) {
      const bool is_escape = line[at] == '\\';
      if (is_escape) ++at;
      const bool is_number = is_escape && line[at] == 'x';
      word += is_number ? static_cast<char>(std::stoi(line.substr(at + 1, 2), nullptr, 16)) : line[at];
      if (is_number) at += 2;
    }
    words.push_back(word);
  }
  return words;
}

/// Makes new inputs out of those that there are.
class Mutator {
 public:
  Mutator(const std::vector<std::string>& corpus, std::vector<std::string> words, size_t max_bytes)
      : corpus_(corpus), words_(std::move(words)), max_bytes_(max_bytes) {}

  std::string next() {
    std::string input = any(corpus_);
    for (size_t changes = 1 + below(4); changes > 0; --changes) change(input);
    if (input.size() > max_bytes_) input.resize(max_bytes_);
    return input;
  }

 private:
  size_t below(size_t limit) { return static_cast<size_t>(random_() % limit); }
  const std::string& any(const std::vector<std::string>& list) { return list[below(list.size())]; }

  void change(std::string& input) {
    const size_t at = below(input.size() + 1);
    const size_t left = input.size() - at;
    switch (below(9)) {
      case 0: input.insert(at, 1, static_cast<char>(random_())); return;
      case 1: input.erase(at, 1 + below(16)); return;
      case 2: input.insert(at, input.substr(below(input.size() + 1), 1 + below(64))); return;
      case 3: input.replace(at, below(32), part_of(any(corpus_))); return;  // splices two inputs
      case 4: overwrite(input, at, number(size_t{1} << below(4))); return;
      case 5: input.insert(at, words_.empty() ? std::string(1, '\0') : any(words_)); return;
      case 6: overwrite(input, at, words_.empty() ? std::string(1, '\xff') : any(words_)); return;
      case 7:
        if (left > 0) input[at] = static_cast<char>(random_());
        return;
      default:
        if (left > 0) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        return;
    }
  }

  std::string part_of(const std::string& other) {
    return other.empty() ? other : other.substr(below(other.size()), 1 + below(200));
  }
  static void overwrite(std::string& input, size_t at, const std::string& with) {
    input.replace(at, std::min(with.size(), input.size() - at), with);
  }
  /// A number that is likely to be a limit, little-endian.
  std::string number(size_t bytes) {
    constexpr std::array<uint64_t, 8> kLimits = {0,         1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF,
                                                 UINT64_MAX};
    const uint64_t value = below(2) == 0 ? kLimits[below(kLimits.size())] : uint64_t{1} << below(64);
    std::string text;
    for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  }

  const std::vector<std::string>& corpus_;
  std::vector<std::string> words_;
  size_t max_bytes_;
  std::mt19937_64 random_{20'260'101};  // the same inputs in the same order each time
};

double seconds_for_each() {
  const char* value = std::getenv("CRIA_FUZZ_SECONDS");
  return value == nullptr ? 1.5 : std::atof(value);
}

class FuzzReplay : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    the_finding = "fuzz-finding-" + std::string(GetParam().name);
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) std::signal(signal, keep_input);
  }
  void TearDown() override {
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) std::signal(signal, SIG_DFL);
  }
};

TEST_P(FuzzReplay, TheCorpusAndWhatIsLikeItAreReadOrRefused) {
  const Target& target = GetParam();
  const std::vector<std::string> corpus = corpus_of(target);
  ASSERT_GE(corpus.size(), 3U) << "there is little to begin with";
  run(target, "");
  for (const std::string& input : corpus) {
    const std::clock_t begin = std::clock();
    run(target, input);
    EXPECT_LT(std::clock() - begin, 2 * CLOCKS_PER_SEC) << "something takes time without bound";
  }
  Mutator mutator(corpus, words_of(target), target.max_bytes);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds_for_each());
  int runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) run(target, mutator.next());
  RecordProperty("runs", runs);
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzReplay, testing::ValuesIn(targets()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace cria::fuzz
