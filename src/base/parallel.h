// Work on all cores: a range of independent items, cut into pieces.
#pragma once

#include <cstdint>
#include <functional>

namespace cria {

/// Calls `work(begin, end)` for pieces of [0, count), on as many threads as there are cores (this one included), and
/// returns when all are done. Pieces are at least `grain` items, so that little work starts no threads. `work` must not
/// throw.
void parallel_for(uint64_t count, uint64_t grain, const std::function<void(uint64_t, uint64_t)>& work);

}  // namespace cria
