#include "grammar/matcher.h"

#include <algorithm>

namespace cria::grammar {
namespace {

constexpr uint32_t kFree = UINT32_MAX;
constexpr uint64_t kMaskBytes = 16ULL << 20U;

}  // namespace

TokenMasks::TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const Vocabulary> vocabulary,
                       const MachineLimits& limits)
    : grammar_(std::move(grammar)),
      vocabulary_(std::move(vocabulary)),
      machine_(grammar_, limits),
      most_machine_bytes_(limits.bytes / 2) {
  path_.resize(vocabulary_->longest() + 1);
}

uint32_t TokenMasks::open() {
  const auto free = std::ranges::find(texts_, kFree);
  const auto text = static_cast<uint32_t>(free - texts_.begin());
  if (free == texts_.end()) texts_.push_back(kFree);
  texts_[text] = machine_.start();
  return text;
}

void TokenMasks::close(uint32_t text) { texts_[text] = kFree; }

/// Forgets what was computed where it has become much; texts stay where they stand.
void TokenMasks::make_room() {
  machine_.begin_work();
  if (machine_.bytes() <= most_machine_bytes_ && mask_bytes_ <= kMaskBytes) return;
  std::vector<uint32_t> sets;
  for (const uint32_t set : texts_) sets.push_back(set == kFree ? Machine::kDead : set);
  machine_.keep_only(sets);
  for (size_t text = 0; text < texts_.size(); ++text) {
    if (texts_[text] != kFree) texts_[text] = sets[text];
  }
  masks_.clear();
  mask_bytes_ = 0;
}

bool TokenMasks::advance(uint32_t text, std::string_view bytes) {
  make_room();
  const uint32_t set = machine_.step_over(texts_[text], bytes);
  if (set == Machine::kDead) return false;
  texts_[text] = set;
  return true;
}

const TokenMasks::Mask& TokenMasks::mask(uint32_t text) {
  make_room();
  const uint32_t set = texts_[text];
  if (masks_.size() <= set) masks_.resize(machine_.sets());
  if (masks_[set].is_known) return masks_[set];
  compute(set, passing_);
  ++computed_;
  if (machine_.is_exhausted()) return passing_;
  masks_[set] = passing_;
  masks_[set].is_known = true;
  mask_bytes_ += passing_.words.size() * sizeof(uint32_t);
  return masks_[set];
}

void TokenMasks::compute(uint32_t set, Mask& mask) {
  mask.words.assign(vocabulary_->mask_words(), 0);
  mask.is_empty = true;
  const std::span<const Vocabulary::Node> nodes = vocabulary_->nodes();
  path_[0] = set;
  for (uint32_t i = 0; i < nodes.size();) {
    const Vocabulary::Node& node = nodes[i];
    const uint32_t next = machine_.step(path_[node.depth], grammar_->class_of(node.byte));
    if (next == Machine::kDead) {
      i = node.behind;
      continue;
    }
    path_[node.depth + 1] = next;
    for (const uint32_t token : vocabulary_->tokens(i)) {
      mask.words[token / 32] |= 1U << (token % 32);
      mask.is_empty = false;
    }
    ++i;
  }
}

bool Matcher::advance(uint32_t token) {
  const std::string_view bytes = token < masks_->vocabulary().size() ? masks_->vocabulary().bytes(token) : "";
  return !bytes.empty() && advance(bytes);
}

bool Matcher::may_end() const { return masks_->machine_.may_end(masks_->texts_[text_]); }

bool Matcher::is_complete() const { return may_end() && !masks_->machine_.may_go_on(masks_->texts_[text_]); }

}  // namespace cria::grammar
