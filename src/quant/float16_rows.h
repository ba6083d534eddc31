// Many f16 and bf16 at once, as they lie in files. The values are those of quant/float16.h.
#pragma once

#include <cstddef>
#include <span>

namespace cria::quant {

/// Decodes out.size() numbers of 2 bytes each, at any alignment.
void f16_to_f32(const std::byte* from, std::span<float> out);
void bf16_to_f32(const std::byte* from, std::span<float> out);

}  // namespace cria::quant
