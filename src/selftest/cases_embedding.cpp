// Cases of the embedding lookup, over every weight format.
#include <algorithm>

#include "kernels/embedding.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

struct EmbeddingShape {
  uint32_t vocab_size = 1;
  uint32_t columns = 1;
  uint32_t tokens = 1;
  uint32_t shards = 1;
};

Result<CaseOutcome> run(Trial& trial, const kernels::WeightFormat& format, const EmbeddingShape& shape) {
  Table table = random_table(trial.random, shape.vocab_size, shape.columns);
  std::vector<uint32_t> tokens = random_indices(trial.random, shape.tokens, shape.vocab_size);
  tokens.back() = shape.vocab_size - 1;
  tokens.front() = 0;
  const auto shards = cut_rows(trial.device, shape.vocab_size, shape.columns, format, shape.shards);
  CRIA_TRY_ASSIGN(const kernels::Matrix matrix, upload_matrix(trial.device, table, format, shards));
  CRIA_TRY_ASSIGN(const gpu::Buffer token_buffer, upload(trial.device, "tokens", tokens));
  CRIA_TRY_ASSIGN(const Target y,
                  Target::create(trial.device, "y", activation_image(Poison::kOutput, shape.tokens, shape.columns)));
  CRIA_TRY_ASSIGN(const auto op, kernels::Embedding::create(trial.device, format));
  gpu::Recorder recorder = trial.device.record("embedding");
  op.record(recorder, matrix, token_buffer, activation_of(y, shape.columns), shape.tokens);
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(y.before);
  expectation.set_rows(reference::embedding(table, tokens, smallest_normal(format.type)));
  for (uint32_t t = 0; t < shape.tokens; ++t) {  // the padding that the kernel's header leaves to it
    for (uint32_t i = shape.columns; i < round_up(shape.columns, 4U); ++i) expectation.ignore(t, i);
  }
  return y.check(trial.device, expectation);
}

/// Columns round the 4 of a vector, the 8 of a chunk, the blocks and the 512 of a workgroup; of K-quants super-blocks.
std::vector<EmbeddingShape> shapes(const kernels::WeightFormat& format) {
  std::vector<EmbeddingShape> list;
  if (kernels::is_k_quant(format.type)) return {{1, 256, 1, 1}, {37, 256, 5, 3}, {90, 512, 60, 2}, {37, 768, 4, 4}};
  for (const uint32_t columns : {1U, 3U, 4U, 5U, 7U, 8U, 9U, 12U, 13U, 33U, 65U, 128U, 511U, 512U, 513U, 520U, 1100U}) {
    for (const uint32_t vocab_size : {1U, 37U}) {
      const auto index = static_cast<uint32_t>(list.size());
      list.push_back({vocab_size, columns, 1 + index % 5, std::min(vocab_size, 1 + index / 2 % 4)});
    }
  }
  list.push_back({1000, 40, 300, 7});
  return list;
}

}  // namespace

void add_embedding_cases(const gpu::Device& device, std::vector<Case>& cases) {
  for (const kernels::WeightFormat& format : weight_formats()) {
    const std::string name = kernels::SpecBuilder(device, "embedding").weights(format).name();
    for (const EmbeddingShape& shape : shapes(format)) {
      cases.push_back({.kernel = name,
                       .shape = fmt::format("vocabulary {}, columns {}, tokens {}, {} shards", shape.vocab_size,
                                            shape.columns, shape.tokens, shape.shards),
                       .binding_bytes = activation_bytes(shape.tokens, shape.columns),
                       .body = [=](Trial& trial) { return run(trial, format, shape); }});
    }
  }
}

}  // namespace cria::selftest
