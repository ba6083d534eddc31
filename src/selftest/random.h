// Reproducible test data: the same numbers with every compiler and library, whatever order cases run in.
#pragma once

#include <cstdint>
#include <string_view>

namespace cria::selftest {

/// SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
class Random {
 public:
  /// Seeds from a name by FNV-1a, so that a case's data depends on nothing but its name. Half of all names
  /// give plain data, the other half mixed magnitudes (see value()).
  explicit Random(std::string_view name) {
    for (const char letter : name) state_ = (state_ ^ static_cast<unsigned char>(letter)) * 0x100000001B3ULL;
    mixed_ = (next() & 1U) != 0;
  }

  [[nodiscard]] uint32_t next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return static_cast<uint32_t>((z ^ (z >> 31)) >> 32);
  }

  /// Uniform in [0, bound).
  [[nodiscard]] uint32_t below(uint32_t bound) { return static_cast<uint32_t>((uint64_t{next()} * bound) >> 32); }

  /// Uniform in [-1, 1), never so small that f32 would hold it as a subnormal.
  [[nodiscard]] float unit() { return static_cast<float>(static_cast<int32_t>(next() >> 8) - (1 << 23)) * 0x1p-23F; }

  /// Plain data is uniform in [-1, 1). Mixed data has, beside such values, zeros, tiny values (about 1e-6)
  /// and large ones (up to 1e4), so that an element lost among others shows in one of the two.
  [[nodiscard]] float value() {
    const uint32_t kind = mixed_ ? below(32) : 31;
    if (kind < 3) return 0.0F;
    if (kind < 6) return 1e-6F * unit();
    if (kind == 6) return 1e4F * unit();
    return unit();
  }

 private:
  uint64_t state_ = 0xCBF29CE484222325ULL;
  bool mixed_ = false;
};

}  // namespace cria::selftest
