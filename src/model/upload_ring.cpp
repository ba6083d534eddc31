#include "model/upload_ring.h"

namespace cria::model {
namespace {

/// The GPU copies from one while the CPU writes the other.
constexpr size_t kSlots = 2;

}  // namespace

Result<std::span<std::byte>> UploadRing::next(uint64_t bytes) {
  slots_.resize(kSlots);
  current_ = (current_ + 1) % kSlots;
  gpu::HostBuffer& slot = slots_[current_];
  if (slot.size_bytes() < bytes) {
    slot = {};
    CRIA_TRY_ASSIGN(slot, device_.create_host_buffer("weights on their way", bytes));
  } else {
    CRIA_TRY(slot.reopen());
  }
  return slot.writable().first(bytes);
}

Status UploadRing::send(std::initializer_list<Part> parts) {
  gpu::HostBuffer& slot = slots_[current_];
  slot.seal();
  gpu::Recorder recorder = device_.record("upload");
  for (const Part& part : parts) recorder.copy(slot, part.offset, part.target, part.target_offset, part.bytes);
  return recorder.submit();
}

}  // namespace cria::model
