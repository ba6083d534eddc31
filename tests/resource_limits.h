// What a refusal may cost: 250 ms of processor time and 64 MiB of memory.
#pragma once

#include <gtest/gtest.h>

#include <ctime>
#include <fstream>

#include "base/platform.h"

#if defined(__SANITIZE_ADDRESS__)
#define CRIA_SLOW_BUILD 1
#else
#define CRIA_SLOW_BUILD 0
#endif

namespace cria {

/// Processor seconds that `work` takes: other programs do not count.
template <typename Work>
double seconds_of(const Work& work) {
  const std::clock_t before = std::clock();
  work();
  return static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
}

/// From now on peak_memory_bytes() counts from the present size, where the system can forget the past.
inline void forget_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

template <typename Work>
void expect_little_used(const Work& work) {
  forget_peak();
  const uint64_t before = platform::peak_memory_bytes();
  const double seconds = seconds_of(work);
  const uint64_t grown = platform::peak_memory_bytes() - before;
  EXPECT_LT(seconds, CRIA_SLOW_BUILD ? 2.5 : 0.25);
  if (!CRIA_SLOW_BUILD) {  // sanitizers keep memory that was freed
    EXPECT_LT(grown, 64U << 20);
  }
}

}  // namespace cria
