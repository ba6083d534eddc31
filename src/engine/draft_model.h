// Drafts of a second, smaller model: it continues the texts that another one generates, several tokens ahead.
#pragma once

#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/token_sampler.h"

namespace cria::engine {

class DraftModel {
 public:
  /// Drafts with engine.draft_model(), for texts in as many slots.
  static Result<DraftModel> create(Engine& engine);

  struct Request {
    uint32_t slot = 0;
    std::span<const uint32_t> tokens;        ///< of the text, none of which need be in the model's cache
    uint32_t count = 0;                      ///< tokens to draft, at least 1 and at most most()
    const SamplingParams* params = nullptr;  ///< how the text's tokens are drawn
    uint32_t step = 0;                       ///< the number of its next draw
  };
  /// Tokens that may be drafted behind a text of so many: none where it is longer than the model's context.
  [[nodiscard]] uint32_t most(size_t length) const;
  /// Continues each text as the smaller model would, drawn with the random numbers that the larger one will draw with,
  /// so that both draw the same token as often as their distributions allow; penalties are left out. A draft is
  /// shorter, or empty, where there is no memory for it or a token that the other model does not have. Errors:
  /// kNotFinite, kDevice, kOutOfMemory.
  Result<std::vector<std::vector<uint32_t>>> draft(std::span<const Request> requests);

 private:
  explicit DraftModel(Engine& engine) : engine_(&engine) {}
  Result<bool> catch_up(const Request& request);
  Result<gpu::PendingRead> step(std::span<const Request*> requests, uint32_t index);

  Engine* engine_;
  TokenSampler sampler_;
  std::vector<std::vector<uint32_t>> held_;  // by slot: tokens whose keys and values are in the model's cache
  std::vector<SamplingParams> params_;       // by slot: those of the text, without penalties
};

}  // namespace cria::engine
