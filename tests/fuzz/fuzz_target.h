// A fuzz target: a function that is given bytes of which nothing is known. It must come back soon, and in little
// memory; what it finds to hold always it says with CRIA_CHECK, which ends the process.
//
// Each target is one file here, and has inputs to begin with in corpus/NAME. It runs in two ways: `make fuzz` links it
// with clang's libFuzzer, which looks for inputs that reach new code (libfuzzer_main.cpp); `make test` links all of
// them with replay_test.cpp, which only changes the inputs of the corpus at random, and needs no clang.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace cria::fuzz {

struct Target {
  std::string_view name;
  size_t max_bytes = 0;  ///< longer inputs are not made: they are slow, and find little that shorter ones do not
  void (*run)(std::string_view input) = nullptr;
};

/// All targets of this program.
inline std::vector<Target>& targets() {
  static std::vector<Target> list;
  return list;
}

struct Registration {
  explicit Registration(const Target& target) { targets().push_back(target); }
};

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// The input up to the next `separator`, which is taken off its front with it.
inline std::string_view take_until(std::string_view& input, char separator) {
  const std::string_view part = input.substr(0, input.find(separator));
  input.remove_prefix(part.size() < input.size() ? part.size() + 1 : part.size());
  return part;
}

/// The first byte, taken off the front; 0 where there is none.
inline unsigned take_byte(std::string_view& input) {
  if (input.empty()) return 0;
  const auto byte = static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  return byte;
}

/// A refusal is a sentence: not empty, and no copy of the input.
/// CRIA_FUZZ_EXPLAIN=1 prints it: to see how far an input of the corpus gets.
inline void check_message(std::string_view message) {
  constexpr size_t kLongest = 2000;
  static const bool explains = std::getenv("CRIA_FUZZ_EXPLAIN") != nullptr;
  if (explains) std::fprintf(stderr, "%.*s\n", static_cast<int>(message.size()), message.data());
  CRIA_CHECK(message.size() > 10 && message.size() < kLongest);
}
inline void check_error(const Error& error) { check_message(error.message()); }

/// Checks the error, if there is one; whether there is none.
template <typename T>
bool is_sound(const Result<T>& result) {
  if (!result) check_error(result.error());
  return result.has_value();
}

}  // namespace cria::fuzz

/// Begins a target's function, whose only argument is `input`.
#define CRIA_FUZZ_TARGET(NAME, MAX_BYTES)                                                    \
  static void run_##NAME(std::string_view input);                                            \
  static const cria::fuzz::Registration registration_##NAME({#NAME, MAX_BYTES, run_##NAME}); \
  static void run_##NAME(std::string_view input)
