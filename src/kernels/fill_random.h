// Made-up weights written on the GPU (fill_random.wgsl), and the same numbers on the CPU.
#pragma once

#include "kernels/builder.h"

namespace cria::kernels {

/// How made-up numbers are stored; kBits are words of random bits, for formats that pack several values.
enum class Encoding : uint8_t { kF32, kF16, kBF16, kBits };
[[nodiscard]] constexpr uint32_t elements_per_word(Encoding encoding) {
  return encoding == Encoding::kF16 || encoding == Encoding::kBF16 ? 2 : 1;
}

class FillRandom {
 public:
  static Result<FillRandom> create(gpu::Device& device, Encoding encoding);
  /// Fills a buffer, whose size is a multiple of 16 bytes. Its element 0 is number `first` of the seed's
  /// sequence, so that shards of one matrix can be filled one by one.
  void record(gpu::Recorder& recorder, const gpu::Buffer& buffer, uint32_t seed, uint32_t first) const;

 private:
  gpu::Pipeline pipeline_;
  uint32_t grid_limit_ = 0;
};

/// Word number `element` of a seed's sequence, as kBits stores it.
[[nodiscard]] uint32_t random_word(uint32_t seed, uint32_t element);
/// Weight number `element` of a seed's sequence, about N(0, 0.018): exactly what each other encoding stores.
[[nodiscard]] float random_weight(uint32_t seed, uint32_t element);

}  // namespace cria::kernels
