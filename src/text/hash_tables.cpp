#include "text/hash_tables.h"

#include <algorithm>
#include <bit>
#include <random>

namespace cria::text {
namespace {

constexpr uint64_t kNoPair = UINT64_MAX;

/// Slots for a number of entries: at least a third of them stay free.
size_t slots_for(size_t entries) { return std::bit_ceil(std::max<size_t>(entries + entries / 2, 8)); }

uint64_t random_number() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

/// Spreads a number over 64 bits (Steele et al. 2014, "Fast splittable pseudorandom number generators").
uint64_t mix(uint64_t value) {
  value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9U;
  value = (value ^ value >> 27) * 0x94D049BB133111EBU;
  return value ^ value >> 31;
}

/// Multilinear: each 4 bytes are multiplied by a random number of their own.
uint64_t hash_text(std::string_view text, uint64_t seed) {
  uint64_t hash = mix(seed) * (text.size() + 1);
  const auto add = [&](uint32_t word) {
    seed += 0x9E3779B97F4A7C15U;
    hash += mix(seed) * word;
  };
  const auto byte = [&](size_t at) { return uint32_t{static_cast<unsigned char>(text[at])}; };
  size_t at = 0;
  for (; at + 4 <= text.size(); at += 4) add(byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3));
  if (at < text.size()) {
    uint32_t word = 0;
    for (; at < text.size(); ++at) word = word << 8 | byte(at);
    add(word);
  }
  return hash >> 32;
}

}  // namespace

Vocabulary::Vocabulary(size_t capacity) : slots_(slots_for(capacity)), seed_(random_number()) {
  entries_.reserve(capacity);
}

size_t Vocabulary::slot_of(std::string_view spelling) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash_text(spelling, seed_) & mask;
  while (slots_[slot] != 0 && text_of(entries_[slots_[slot] - 1]) != spelling) slot = (slot + 1) & mask;
  return slot;
}

std::optional<std::string_view> Vocabulary::add(std::string_view spelling, TokenId id) {
  if (const auto other = this->spelling(id)) return other;
  const size_t slot = slot_of(spelling);
  entries_.push_back({text_.size(), static_cast<uint32_t>(spelling.size()), id});
  text_ += spelling;
  slots_[slot] = static_cast<uint32_t>(entries_.size());
  if (id >= entry_of_.size()) entry_of_.resize(size_t{id} + 1);
  entry_of_[id] = static_cast<uint32_t>(entries_.size());
  return std::nullopt;
}

std::optional<TokenId> Vocabulary::find(std::string_view spelling) const {
  const uint32_t entry = slots_[slot_of(spelling)];
  if (entry == 0) return std::nullopt;
  return entries_[entry - 1].id;
}

std::optional<std::string_view> Vocabulary::spelling(TokenId id) const {
  if (id >= entry_of_.size() || entry_of_[id] == 0) return std::nullopt;
  return text_of(entries_[entry_of_[id] - 1]);
}

MergeTable::MergeTable(size_t capacity)
    : slots_(slots_for(capacity), Slot{kNoPair, {0, 0}}),
      multiplier_(random_number() | 1),
      shift_(64 - std::countr_zero(slots_.size())) {}

size_t MergeTable::slot_of(uint64_t pair) const {
  size_t slot = (pair * multiplier_) >> shift_;
  while (slots_[slot].pair != pair && slots_[slot].pair != kNoPair) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void MergeTable::set(TokenId left, TokenId right, Merge merge) {
  const uint64_t pair = uint64_t{left} << 32 | right;
  slots_[slot_of(pair)] = {pair, merge};
}

const MergeTable::Merge* MergeTable::find(TokenId left, TokenId right) const {
  const Slot& slot = slots_[slot_of(uint64_t{left} << 32 | right)];
  return slot.pair == kNoPair ? nullptr : &slot.merge;
}

}  // namespace cria::text
