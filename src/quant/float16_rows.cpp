#include "quant/float16_rows.h"

#include "quant/float16.h"
#include "quant/lanes.h"

namespace cria::quant {
namespace {

/// Numbers are copied out in pieces, so that the loops over them may take them for aligned.
constexpr size_t kPiece = 64;

template <typename Decode>
CRIA_INLINE void decode_pieces(const std::byte* from, std::span<float> out, Decode decode) {
  size_t at = 0;
  for (; at + kPiece <= out.size(); at += kPiece) {
    uint16_t piece[kPiece];
    float values[kPiece];
    std::memcpy(piece, from + 2 * at, sizeof(piece));
    for (size_t i = 0; i < kPiece; ++i) values[i] = decode(piece[i]);
    std::memcpy(out.data() + at, values, sizeof(values));
  }
  for (; at < out.size(); ++at) {
    uint16_t bits = 0;
    std::memcpy(&bits, from + 2 * at, sizeof(bits));
    out[at] = decode(bits);
  }
}

}  // namespace

CRIA_PROCESSOR_CLONES void f16_to_f32(const std::byte* from, std::span<float> out) {
  decode_pieces(from, out, [](uint16_t bits) CRIA_INLINE_LAMBDA {
    // As f16_to_f32 of one number, without branches.
    const uint32_t magnitude = uint32_t{bits & 0x7FFFU} << 13;
    const float subnormal = static_cast<float>(static_cast<int32_t>(bits & 0x3FFU)) * 0x1p-24F;
    const uint32_t normal = magnitude + (112U << 23) + (magnitude >= 0x0F800000U ? 112U << 23 : 0U);
    const uint32_t value = magnitude < 0x00800000U ? std::bit_cast<uint32_t>(subnormal) : normal;
    return std::bit_cast<float>(value | uint32_t{bits & 0x8000U} << 16);
  });
}

CRIA_PROCESSOR_CLONES void bf16_to_f32(const std::byte* from, std::span<float> out) {
  decode_pieces(from, out, [](uint16_t bits) CRIA_INLINE_LAMBDA { return bf16_to_f32(bits); });
}

}  // namespace cria::quant
