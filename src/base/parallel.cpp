#include "base/parallel.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "base/checked.h"

namespace cria {

void parallel_for(uint64_t count, uint64_t grain, const std::function<void(uint64_t, uint64_t)>& work) {
  const uint64_t cores = std::max(1U, std::thread::hardware_concurrency());
  const uint64_t pieces = std::clamp<uint64_t>(count / std::max<uint64_t>(grain, 1), 1, cores);
  const uint64_t size = divide_up(count, pieces);
  std::vector<std::jthread> threads;
  for (uint64_t begin = size; begin < count; begin += size) {
    threads.emplace_back([&work, begin, end = std::min(count, begin + size)] { work(begin, end); });
  }
  work(0, std::min(count, size));
}

}  // namespace cria
