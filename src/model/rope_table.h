// Cosines and sines of rotary position embeddings, kept between passes.
#pragma once

#include <span>
#include <vector>

#include "model/config.h"

namespace cria::model {

class RopeTable {
 public:
  /// cos and sin of every position's angles, f32 [positions, head_dim / 2, 2]; `sequence_length` as for
  /// rope_frequencies. Angles are products in f32, as checkpoints were trained with; their cosines and sines are exact
  /// to f32.
  std::vector<float> rows(const ModelConfig& config, std::span<const uint32_t> positions, uint32_t sequence_length);

 private:
  void write_row(uint32_t position, float* to) const;

  RopeFrequencies rope_;
  std::vector<float> kept_;    // rows of the positions below kKeptPositions
  std::vector<bool> is_kept_;  // by position
};

}  // namespace cria::model
