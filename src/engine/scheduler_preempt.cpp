// What the scheduler does when pages run out: texts that came last give way to those that came before them, and go on
// when there is room again, with the same tokens.
#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "engine/scheduler.h"

namespace cria::engine {

using kernels::kPageSize;

/// Makes room for positions of a slot, at the cost of pages and texts that only wait to be used again.
Status Scheduler::reserve(uint32_t index, uint32_t positions) {
  for (;;) {
    const Status status = engine_.model().kv_cache().reserve(engine_.device(), index, positions);
    if (status || status.error().code() != ErrorCode::kOutOfMemory) return status;
    if (prefix_pages_.forget_oldest()) continue;
    Slot* oldest = nullptr;
    for (Slot& slot : slots_) {
      const bool waits = !slot.ticket && slot.cached > 0;
      if (waits && (oldest == nullptr || slot.last_used < oldest->last_used)) oldest = &slot;
    }
    if (oldest == nullptr) return status;
    forget(*oldest);
  }
}

/// The same for a text that runs, if need be at the cost of those that came after it. False where it had to give way
/// itself. Errors: kOutOfMemory where it is alone, and what the device fails with.
Result<bool> Scheduler::make_room(uint32_t index, uint32_t positions) {
  for (;;) {
    const Status status = reserve(index, positions);
    if (status) return true;
    if (status.error().code() != ErrorCode::kOutOfMemory) return std::unexpected(status.error());
    if (running() == 1) return std::unexpected(status.error());
    Slot* last = &slots_[index];
    for (Slot& slot : slots_) {
      if (slot.ticket && slot.arrival > last->arrival) last = &slot;
    }
    CRIA_TRY(preempt(*last));
    if (last == &slots_[index]) return false;
  }
}

/// Takes a text out of its slot. Its pages are copied to host memory while that is not above its bound; else, and where
/// sums of hidden states would be lost, it will be read again.
Status Scheduler::preempt(Slot& slot) {
  const auto index = static_cast<uint32_t>(&slot - slots_.data());
  const uint32_t pages = slot.ticket->job().embeds ? 0 : divide_up(slot.cached, kPageSize);
  const uint64_t bytes = pages * PageSpill::page_bytes(engine_);
  Result<PageCopies> copies;
  const bool is_resident = engine_.model().kv_cache().stream().empty();  // else pages of some layers lie elsewhere
  if (is_resident && spilled_bytes_ + bytes <= options_.spill_bytes) copies = spill_.save(engine_, index, pages);
  if (!copies && copies.error().code() != ErrorCode::kOutOfMemory) return std::unexpected(copies.error());
  const bool is_spilled = copies && !copies->empty();
  if (is_spilled) spilled_bytes_ += bytes;
  const bool is_read_again = !is_spilled && slot.cached > 0;
  Preempted text{std::move(static_cast<Text&>(slot)), is_spilled ? *std::move(copies) : PageCopies()};
  if (!is_spilled) text.cached = 0;
  static_cast<Text&>(slot) = {};
  forget(slot);
  const auto place = std::ranges::upper_bound(preempted_, text.arrival, {}, &Preempted::arrival);
  preempted_.insert(place, std::move(text));
  const std::scoped_lock lock(mutex_);
  --state_.busy_slots;
  ++state_.preemptions;
  if (is_read_again) ++state_.recomputations;
  return {};
}

uint32_t Scheduler::running() const {
  return static_cast<uint32_t>(std::ranges::count_if(slots_, [](const Slot& slot) { return slot.ticket != nullptr; }));
}

/// Whether all of a text would fit beside the texts that run, with a page for each to grow, so that it need not give
/// way again at once.
bool Scheduler::has_room(const Text& text) const {
  const uint32_t others = running();
  const uint32_t pages = divide_up(static_cast<uint32_t>(text.tokens.size()), kPageSize);
  return others == 0 || busy_pages() + pages + others + 1 <= engine_.model().kv_cache().max_pages();
}

/// Pages that texts hold which run, each counted once.
uint32_t Scheduler::busy_pages() const {
  std::vector<uint32_t> pages;
  for (uint32_t index = 0; index < slots_.size(); ++index) {
    if (!slots_[index].ticket) continue;
    const std::vector<uint32_t>& more = engine_.model().kv_cache().pages(index);
    pages.insert(pages.end(), more.begin(), more.end());
  }
  std::ranges::sort(pages);
  return static_cast<uint32_t>(std::ranges::unique(pages).begin() - pages.begin());
}

/// Lets texts that had to give way go on, first come, first served, while there is room.
Status Scheduler::resume() {
  const auto is_free = [](const Slot& slot) { return slot.ticket == nullptr; };
  while (!preempted_.empty() && std::ranges::any_of(slots_, is_free) && has_room(preempted_.front())) {
    const uint32_t index = best_slot({});
    forget(slots_[index]);
    Preempted& text = preempted_.front();
    if (const Status status = restore(index, text); !status) {
      if (status.error().code() != ErrorCode::kOutOfMemory) return status;
      forget(slots_[index]);
      if (running() > 0) return {};
      // Even alone it has no place: the device has less memory than it had.
      {
        const std::scoped_lock lock(mutex_);
        ++state_.failed;
      }
      text.ticket->fail(status.error());
      spilled_bytes_ -= text.copies.size();
      preempted_.pop_front();
      continue;
    }
    Slot& slot = slots_[index];
    static_cast<Text&>(slot) = std::move(static_cast<Text&>(text));
    slot.last_used = ++clock_;
    spilled_bytes_ -= text.copies.size();
    preempted_.pop_front();
    {
      const std::scoped_lock lock(mutex_);
      ++state_.busy_slots;
    }
    CRIA_TRY(begin_sampler(slot, index));
  }
  return {};
}

/// Gives a slot the pages of a text again: those that others know, and the copies of the rest.
Status Scheduler::restore(uint32_t index, const Preempted& text) {
  if (text.copies.empty()) return {};
  const std::vector<uint32_t> known = prefix_pages_.find(std::span(text.tokens).first(text.cached));
  if (!known.empty()) CRIA_TRY(engine_.model().kv_cache().share(engine_.device(), index, known));
  CRIA_TRY(reserve(index, text.cached));
  slots_[index].published = static_cast<uint32_t>(known.size());
  return PageSpill::restore(engine_, index, static_cast<uint32_t>(known.size()), text.copies);
}

/// Ends those that had to give way and nobody waits for.
void Scheduler::drop_preempted(bool all) {
  std::erase_if(preempted_, [&](const Preempted& text) {
    if (!all && !text.ticket->is_cancelled()) return false;
    spilled_bytes_ -= text.copies.size();
    {
      const std::scoped_lock lock(mutex_);
      ++state_.cancelled;
    }
    text.ticket->end(StopReason::kInterrupted);
    return true;
  });
}

}  // namespace cria::engine
