// Where the only token of a batch stands, among the parameters of kernels (token_place.wgsl).
#pragma once

#include "kernels/attention.h"

namespace cria::kernels {

/// Part of a kernel's Params: has_place, position, slot, first_page.
struct TokenPlace {
  uint32_t has_place = 0;  // 1: position and slot are known
  uint32_t position = 0;
  uint32_t slot = 0;
  uint32_t first_page = kInTable;
};

inline TokenPlace token_place(const BatchBuffers& batch) {
  return {.has_place = batch.position ? 1U : 0U,
          .position = batch.position.value_or(0),
          .slot = batch.slot,
          .first_page = batch.first_page.value_or(kInTable)};
}

}  // namespace cria::kernels
