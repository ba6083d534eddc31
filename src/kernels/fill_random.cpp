#include "kernels/fill_random.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kWorkgroup = 256;
constexpr uint32_t kVecBytes = 16;
struct Params {
  uint32_t vec4s, first, seed, pad;
};

uint32_t pcg(uint32_t value) {
  const uint32_t state = value * 747796405U + 2891336453U;
  const uint32_t word = ((state >> ((state >> 28) + 4)) ^ state) * 277803737U;
  return (word >> 22) ^ word;
}
}  // namespace

Result<FillRandom> FillRandom::create(gpu::Device& device, Encoding encoding) {
  FillRandom op;
  op.grid_limit_ = device.limits().max_workgroups_per_dimension;
  CRIA_TRY_ASSIGN(op.pipeline_, SpecBuilder(device, "fill_random")
                                    .constant("WORKGROUP_SIZE", kWorkgroup)
                                    .constant("ENCODING", static_cast<uint32_t>(encoding))
                                    .build(device, "w", sizeof(Params)));
  return op;
}

void FillRandom::record(gpu::Recorder& recorder, const gpu::Buffer& buffer, uint32_t seed, uint32_t first) const {
  CRIA_CHECK(buffer.size_bytes() % kVecBytes == 0);
  const auto vec4s = static_cast<uint32_t>(buffer.size_bytes() / kVecBytes);
  const Params params{.vec4s = vec4s, .first = first, .seed = seed, .pad = 0};
  const gpu::Binding bindings[] = {buffer};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings,
                    folded_grid(grid_limit_, divide_up(vec4s, kWorkgroup)));
}

uint32_t random_word(uint32_t seed, uint32_t element) { return pcg(pcg(element) ^ seed); }

float random_weight(uint32_t seed, uint32_t element) {
  const uint32_t bits = random_word(seed, element);
  const uint32_t sum = (bits & 63U) + ((bits >> 6) & 63U) + ((bits >> 12) & 63U) + ((bits >> 18) & 63U);
  return static_cast<float>(static_cast<int32_t>(sum) - 126) / 2048.0F;
}

}  // namespace cria::kernels
