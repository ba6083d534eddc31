#include "gpu/faults.h"

#include <atomic>

namespace cria::gpu::faults {
namespace {

/// Counts down to 0, where it stays.
class Countdown {
 public:
  void set(uint32_t count) { left_ = count; }
  /// True for the call that counts to 0.
  bool step() {
    uint32_t left = left_;
    while (left > 0 && !left_.compare_exchange_weak(left, left - 1)) {
    }
    return left == 1;
  }

 private:
  std::atomic<uint32_t> left_ = 0;
};

Countdown submissions;
Countdown buffers;

}  // namespace

void lose_device_at(uint32_t nth) { submissions.set(nth); }
void refuse_buffer(uint32_t nth) { buffers.set(nth); }
bool loses_device_now() { return submissions.step(); }
bool refuses_buffer_now() { return buffers.step(); }

}  // namespace cria::gpu::faults
