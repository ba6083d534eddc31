// How large passes through prompts are where nobody says.
#include "model/fit.h"

#include <gtest/gtest.h>

#include "model/shapes.h"
#include "model/synthetic.h"

namespace cria::model {
namespace {

/// Tokens of a pass for a shape in f16 on a GPU with so much memory.
uint32_t tokens_of_pass(const std::string& shape, uint64_t gibibytes, ModelOptions options) {
  const ModelConfig config = parse_shape(shape).value();
  const gpu::Limits limits{.max_buffer_bytes = 1ULL << 32, .max_binding_bytes = 1ULL << 32};
  const FormatsOfChoice formats = made_up_formats;
  const FitRequest request{.limits = limits, .config = config, .formats = formats, .budget = gibibytes << 30};
  MemoryPlan plan = model::plan(limits, false, config, formats(options.weights), options).value();
  return with_large_passes(request, {options, std::move(plan)}).value().plan.max_batch_tokens;
}

TEST(LargePasses, AreForGpusWithMuchMemory) {
  ModelOptions options;
  options.weights = Precision::kF16;
  options.max_context = 4096;
  EXPECT_EQ(tokens_of_pass("llama-8b", 80, options), 2048U);
  EXPECT_EQ(tokens_of_pass("llama-1.1b", 80, options), 2048U);
  EXPECT_EQ(tokens_of_pass("llama-1.1b", 6, options), 1024U) << "the activations of 2,048 tokens are too many";
  EXPECT_EQ(tokens_of_pass("llama-1.1b", 3, options), 512U);
  EXPECT_EQ(tokens_of_pass("llama-8b", 20, options), 512U) << "the model leaves too little";
}

TEST(LargePasses, AreNoLargerThanTheContextOrWhatWasAskedFor) {
  ModelOptions options;
  options.weights = Precision::kF16;
  options.max_context = 700;
  EXPECT_EQ(tokens_of_pass("llama-1.1b", 80, options), 700U);
  options.max_batch_tokens = 300;
  EXPECT_EQ(tokens_of_pass("llama-1.1b", 80, options), 300U);
}

}  // namespace
}  // namespace cria::model
