#include "kernels/sampler.h"

#include <algorithm>

namespace cria::kernels {
namespace {
constexpr uint32_t kWorkgroup = 256;  // one invocation per bin of an 8-bit digit
/// Logits of a slice: longer rows are cut, so that the whole GPU looks for the highest, unless there are many rows.
constexpr uint32_t kSlice = 4096;
constexpr uint32_t kMaxSlicedRows = 32;
constexpr uint32_t kListWorkgroup = 64;
struct Params {
  uint32_t vocab_size, stride, rows, slices;
};
struct MarkParams {
  uint32_t vocab_size, first, count, slot;
};
struct BiasParams {
  uint32_t count, pad[3];
};
struct MaskParams {
  uint32_t vocab_size, stride, words, pad;
};
struct ListParams {
  uint32_t vocab_size, pad[3];
};
}  // namespace

Result<Sampler> Sampler::create(gpu::Device& device, uint32_t vocab_size) {
  if (vocab_size == 0 || vocab_size > kMaxSampledVocab) {
    return fail(ErrorCode::kUnsupported, "a vocabulary of {} tokens cannot be sampled (1 to {})",
                with_commas(vocab_size), with_commas(kMaxSampledVocab));
  }
  Sampler op;
  op.vocab_size_ = vocab_size;
  op.grid_limit_ = device.limits().max_workgroups_per_dimension;
  CRIA_TRY_ASSIGN(op.argmax_, SpecBuilder(device, "argmax")
                                  .module("sampler_logits")
                                  .constant("WORKGROUP_SIZE", kWorkgroup)
                                  .build(device, "rrwww", sizeof(Params)));
  op.slices_ = divide_up(vocab_size, kSlice);
  CRIA_TRY_ASSIGN(op.argmax_slices_, SpecBuilder(device, "argmax_slices")
                                         .module("sampler_logits")
                                         .constant("WORKGROUP_SIZE", kWorkgroup)
                                         .constant("SLICE", kSlice)
                                         .build(device, "rrww", sizeof(Params)));
  CRIA_TRY_ASSIGN(op.argmax_join_, SpecBuilder(device, "argmax_join")
                                       .module("sampler_logits")
                                       .constant("WORKGROUP_SIZE", kWorkgroup)
                                       .build(device, "rrwww", sizeof(Params)));
  CRIA_TRY_ASSIGN(op.best_of_slices_, device.create_buffer("best of slices", uint64_t{kMaxSlicedRows} * op.slices_ * 8,
                                                           gpu::MemoryKind::kScratch));
  CRIA_TRY_ASSIGN(op.sample_, SpecBuilder(device, "sample")
                                  .module("sampler_logits")
                                  .module("sampler_threshold")
                                  .constant("WORKGROUP_SIZE", kWorkgroup)
                                  .constant("GREEDY_TEMPERATURE", kGreedyTemperature)
                                  .build(device, "rrwww", sizeof(Params)));
  CRIA_TRY_ASSIGN(op.mark_, SpecBuilder(device, "mark_tokens")
                                .constant("WORKGROUP_SIZE", kListWorkgroup)
                                .build(device, "rw", sizeof(MarkParams)));
  CRIA_TRY_ASSIGN(op.bias_, SpecBuilder(device, "logit_bias")
                                .constant("WORKGROUP_SIZE", kListWorkgroup)
                                .build(device, "rw", sizeof(BiasParams)));
  CRIA_TRY_ASSIGN(op.mask_, SpecBuilder(device, "token_mask")
                                .constant("WORKGROUP_SIZE", kWorkgroup)
                                .build(device, "rrw", sizeof(MaskParams)));
  CRIA_TRY_ASSIGN(op.add_, SpecBuilder(device, "add_tokens")
                               .constant("WORKGROUP_SIZE", kWorkgroup)
                               .build(device, "rrw", sizeof(ListParams)));
  return op;
}

bool Sampler::slices(uint32_t vocab_size, uint32_t row_count) {
  return vocab_size > kSlice && row_count <= kMaxSlicedRows;
}

void Sampler::record(gpu::Recorder& recorder, const Activation& logits, const gpu::Range& rows, const gpu::Buffer& seen,
                     const gpu::Buffer& tokens, const gpu::Range& results, uint32_t row_count, bool greedy) const {
  CRIA_CHECK(logits.columns == vocab_size_);
  if (row_count == 0) return;
  const Params params{.vocab_size = vocab_size_, .stride = logits.stride() / 4, .rows = row_count, .slices = slices_};
  const auto rows_grid = folded_grid(grid_limit_, row_count);
  if (greedy && slices(vocab_size_, row_count)) {
    const gpu::Binding sliced[] = {logits.buffer, rows, seen, best_of_slices_};
    recorder.dispatch(argmax_slices_, gpu::as_params(params), sliced,
                      {std::min(slices_, grid_limit_), rows_grid[0], rows_grid[1]});
    const gpu::Binding joined[] = {best_of_slices_, rows, seen, tokens, results};
    recorder.dispatch(argmax_join_, gpu::as_params(params), joined, rows_grid);
    return;
  }
  const gpu::Binding bindings[] = {logits.buffer, rows, seen, tokens, results};
  recorder.dispatch(greedy ? argmax_ : sample_, gpu::as_params(params), bindings, rows_grid);
}

void Sampler::record_bias(gpu::Recorder& recorder, const Activation& logits, const gpu::Buffer& entries,
                          uint32_t count) const {
  if (count == 0) return;
  const BiasParams params{.count = count, .pad = {}};
  const gpu::Binding bindings[] = {entries, logits.buffer};
  recorder.dispatch(bias_, gpu::as_params(params), bindings,
                    folded_grid(grid_limit_, divide_up(count, kListWorkgroup)));
}

void Sampler::record_masks(gpu::Recorder& recorder, const Activation& logits, const gpu::Buffer& masks,
                           const gpu::Buffer& rows, uint32_t count) const {
  CRIA_CHECK(logits.columns == vocab_size_ && count <= grid_limit_);
  if (count == 0) return;
  const MaskParams params{.vocab_size = vocab_size_, .stride = logits.stride(), .words = mask_words(), .pad = 0};
  const gpu::Binding bindings[] = {masks, rows, logits.buffer};
  recorder.dispatch(mask_, gpu::as_params(params), bindings, {divide_up(vocab_size_, kWorkgroup), count, 1});
}

void Sampler::record_marks(gpu::Recorder& recorder, const gpu::Buffer& tokens, uint32_t first, uint32_t count,
                           uint32_t slot, const gpu::Buffer& seen) const {
  if (count == 0) return;
  const MarkParams params{.vocab_size = vocab_size_, .first = first, .count = count, .slot = slot};
  const gpu::Binding bindings[] = {tokens, seen};
  recorder.dispatch(mark_, gpu::as_params(params), bindings,
                    folded_grid(grid_limit_, divide_up(count, kListWorkgroup)));
}

void Sampler::record_lists(gpu::Recorder& recorder, const gpu::Buffer& lists, const gpu::Buffer& tokens, uint32_t count,
                           const gpu::Buffer& seen) const {
  CRIA_CHECK(count <= grid_limit_);
  if (count == 0) return;
  const ListParams params{.vocab_size = vocab_size_, .pad = {}};
  const gpu::Binding bindings[] = {lists, tokens, seen};
  recorder.dispatch(add_, gpu::as_params(params), bindings, {divide_up(vocab_size_, kWorkgroup), count, 1});
}

}  // namespace cria::kernels
