#include "engine/prompt_lookup.h"

#include <algorithm>

namespace cria::engine {
namespace {

uint64_t hash_of(std::span<const uint32_t> run) {
  uint64_t hash = 0xd1b54a32d192ed03U * (run.size() + 1);
  for (const uint32_t token : run) {
    hash = (hash ^ token) * 0x9e3779b97f4a7c15U;
    hash ^= hash >> 29U;
  }
  return hash;
}

}  // namespace

void PromptLookup::clear() {
  places_.clear();
  learned_ = 0;
}

/// A run is known when a token follows it, so that the last tokens never find themselves.
void PromptLookup::learn(std::span<const uint32_t> text) {
  for (; learned_ < text.size(); ++learned_) {
    for (size_t length = kShortest; length <= std::min<size_t>(kLongest, learned_); ++length) {
      places_[hash_of(text.subspan(learned_ - length, length))] = static_cast<uint32_t>(learned_);
    }
  }
}

std::vector<uint32_t> PromptLookup::draft(std::span<const uint32_t> text, uint32_t most) {
  learn(text);
  for (size_t length = std::min<size_t>(kLongest, text.size()); length >= kShortest; --length) {
    const std::span<const uint32_t> run = text.last(length);
    const auto found = places_.find(hash_of(run));
    if (found == places_.end()) continue;
    size_t place = found->second;
    if (!std::ranges::equal(run, text.subspan(place - length, length))) continue;  // another run of the same hash
    std::vector<uint32_t> draft;
    for (; draft.size() < most; ++place) {
      draft.push_back(place < text.size() ? text[place] : draft[place - text.size()]);
    }
    return draft;
  }
  return {};
}

}  // namespace cria::engine
