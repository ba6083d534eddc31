// What the scheduler does when a pass of the model fails: mostly because the device was lost, or has no memory left.
#include <thread>
#include <utility>

#include "base/log.h"
#include "engine/scheduler.h"

namespace cria::engine {
namespace {

constexpr uint32_t kMostLosses = 3;
constexpr std::chrono::seconds kLossesWithin{60};
/// For the driver to come to itself, before the device is opened once more.
constexpr std::chrono::milliseconds kPause{500};

}  // namespace

/// Ends the jobs that run with an error, and makes ready to go on with those that wait: on the same device where it
/// only lacked memory, else on the device opened anew. Errors: the device is of no use any more; all jobs have ended.
Status Scheduler::recover(const Error& error) {
  const bool is_lost = error.code() != ErrorCode::kOutOfMemory || !engine_.device().check();
  if (!is_lost) {
    forget_all(error);
    while (prefix_pages_.forget_oldest()) {
    }
    return {};
  }
  count_loss();
  forget_all(error);
  for (Error last = error;;) {
    if (losses_.size() >= kMostLosses) {
      return give_up(
          Error(ErrorCode::kDevice, fmt::format("the device was lost {} times within {} s, the last time: {}",
                                                losses_.size(), kLossesWithin.count(), last.message())));
    }
    log::warning("{}; opening the device again and loading the model", last.message());
    if (options_.on_device_loss) options_.on_device_loss(last);
    const Status reloaded = reload();
    if (reloaded) break;
    last = Error(reloaded.error()).while_doing("opening the device again after it was lost");
    if (last.code() != ErrorCode::kDevice) return give_up(last);
    count_loss();
    std::this_thread::sleep_for(kPause);
  }
  const std::scoped_lock lock(mutex_);
  state_.is_recovering = false;
  return {};
}

void Scheduler::count_loss() {
  const auto now = Clock::now();
  std::erase_if(losses_, [&](Clock::time_point time) { return now - time > kLossesWithin; });
  losses_.push_back(now);
  const std::scoped_lock lock(mutex_);
  state_.is_recovering = true;
  ++state_.device_losses;
}

/// Ends the jobs that run, and forgets what the cache holds: nobody knows how much of it was written. What waits in
/// host memory is whole.
void Scheduler::forget_all(const Error& error) {
  flight_ = {};
  for (Slot& slot : slots_) {
    if (slot.ticket) fail_job(slot, error);
    forget(slot);
  }
}

Status Scheduler::reload() {
  sampler_ = {};
  speculation_ = {};
  spill_ = {};
  CRIA_TRY(engine_.reload());
  prefix_pages_ = model::PrefixPages(engine_.model().kv_cache());
  return make_tools();
}

/// Nothing will be generated any more.
Status Scheduler::give_up(Error error) {
  std::deque<std::shared_ptr<Ticket>> waiting;
  {
    const std::scoped_lock lock(mutex_);
    waiting = std::exchange(queue_, {});
    state_.is_broken = true;
    state_.is_recovering = false;
    state_.preempted = state_.spilled_bytes = 0;
    state_.failed += waiting.size() + preempted_.size();
  }
  for (const auto& ticket : waiting) ticket->fail(error);
  for (const Preempted& text : preempted_) text.ticket->fail(error);
  preempted_.clear();
  return std::unexpected(std::move(error));
}

}  // namespace cria::engine
