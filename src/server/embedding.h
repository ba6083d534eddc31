// Embeddings of texts, one after the other, through the scheduler.
#pragma once

#include <functional>
#include <vector>

#include "server/generation.h"
#include "server/request.h"

namespace cria::server {

struct Embeddings {
  std::vector<std::vector<float>> vectors;  ///< [inputs][hidden_size], each of length 1
  uint64_t tokens = 0;                      ///< that were read
};

/// Reads the inputs. Refusals: 400 for one that does not fit the context, or for `dimensions` other than the model's;
/// those of submit(); 499 where `is_abandoned` says that nobody waits any more.
Checked<Embeddings> embeddings_of(engine::Engine& engine, engine::Scheduler& scheduler, const EmbeddingRequest& request,
                                  const std::function<bool()>& is_abandoned);

}  // namespace cria::server
