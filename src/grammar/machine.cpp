#include "grammar/machine.h"

#include <algorithm>
#include <utility>

namespace cria::grammar {
namespace {

constexpr uint64_t place_of(uint32_t state, uint32_t callers) { return uint64_t{state} << 32U | callers; }
constexpr uint32_t state_of(uint64_t place) { return static_cast<uint32_t>(place >> 32U); }
constexpr uint32_t callers_of(uint64_t place) { return static_cast<uint32_t>(place); }

constexpr uint64_t kSetBytes = 128;  // beside its places, with the entry in the table

void sort_unique(std::vector<uint64_t>& places) {
  std::ranges::sort(places);
  const auto repeated = std::ranges::unique(places);
  places.erase(repeated.begin(), repeated.end());
}

}  // namespace

size_t Machine::Hash::operator()(const Places& places) const {
  uint64_t hash = 0x9E3779B97F4A7C15U;
  for (const uint64_t value : places) {
    hash = (hash ^ value) * 0xFF51AFD7ED558CCDU;
    hash ^= hash >> 32U;
  }
  return hash;
}

Machine::Machine(std::shared_ptr<const Grammar> grammar, const MachineLimits& limits)
    : grammar_(std::move(grammar)), limits_(limits), classes_(grammar_->classes()), calls_(grammar_->rules()) {
  clear();
}

void Machine::clear() {
  callers_.clear();
  callers_ids_.clear();
  sets_.clear();
  set_ids_.clear();
  steps_.clear();
  bytes_ = 0;
  begin_work();
  intern_callers({kEnd});  // kRootCallers
  intern_set({});          // kDead
  std::ranges::fill(steps_, kDead);
  places_.clear();
  seen_.clear();
  if (grammar_->may_be_empty(grammar_->root())) places_.push_back(kEnd);
  const uint64_t root = place_of(grammar_->first_state(grammar_->root()), kRootCallers);
  if (!enter(root, false) || !call_rules()) is_exhausted_ = true;
  start_ = intern_set(places_);
}

/// Who is called in an edge, and where that returns to. A call at the end of a rule returns to the rule's own callers.
void Machine::add_call(const FreeEdge& call, uint32_t callers) {
  Places& calls = calls_[call.rule];
  called_.insert(call.rule);
  if (grammar_->is_tail(call.to)) {
    const Places& own = callers_[callers].places;
    work_ += own.size();
    calls.insert(calls.end(), own.begin(), own.end());
  } else if (callers_[callers].depth < limits_.depth) {
    calls.push_back(place_of(call.to, callers));
  }
}

/// Adds a place, and those that are reached from there without a byte. With `returns` the end of a rule leads on to its
/// callers. One that has only begun is empty there; instead calls are passed over where the rule may be empty. False
/// where limits stand in the way.
bool Machine::enter(uint64_t first, bool returns) {
  open_.assign(1, first);
  while (!open_.empty()) {
    const uint64_t place = open_.back();
    open_.pop_back();
    const auto at = std::ranges::lower_bound(seen_, place);
    if (at != seen_.end() && *at == place) continue;
    if (seen_.size() >= limits_.places || ++work_ > limits_.work) return false;
    seen_.insert(at, place);
    const uint32_t state = state_of(place);
    const uint32_t callers = callers_of(place);
    for (const FreeEdge& edge : grammar_->free_edges(state)) {
      const bool calls = edge.rule != FreeEdge::kNoRule;
      if (calls) add_call(edge, callers);
      if (!calls || grammar_->may_be_empty(edge.rule)) open_.push_back(place_of(edge.to, callers));
    }
    if (!grammar_->byte_edges(state).empty()) places_.push_back(place);
    if (!returns || !grammar_->is_final(state)) continue;
    for (const uint64_t caller : callers_[callers].places) {
      (caller == kEnd ? places_ : open_).push_back(caller);
    }
  }
  return true;
}

/// Enters the rules that are called, each once with all its callers: those come before it that may begin with it.
bool Machine::call_rules() {
  while (!called_.empty()) {
    const uint32_t rule = *called_.begin();
    called_.erase(called_.begin());
    Places callers = std::exchange(calls_[rule], {});
    if (callers.empty()) continue;  // they are too deep
    if (!enter(place_of(grammar_->first_state(rule), intern_callers(std::move(callers))), false)) return false;
  }
  return true;
}

uint32_t Machine::intern_callers(Places places) {
  sort_unique(places);
  const auto [found, is_new] = callers_ids_.try_emplace(std::move(places), static_cast<uint32_t>(callers_.size()));
  if (is_new) {
    uint32_t depth = 0;
    for (const uint64_t place : found->first) {
      if (place != kEnd) depth = std::max(depth, callers_[callers_of(place)].depth + 1);
    }
    bytes_ += kSetBytes + 2 * found->first.size() * sizeof(uint64_t);
    callers_.push_back({.places = found->first, .depth = depth});
  }
  return found->second;
}

uint32_t Machine::intern_set(Places places) {
  sort_unique(places);
  const auto [found, is_new] = set_ids_.try_emplace(std::move(places), static_cast<uint32_t>(sets_.size()));
  if (is_new) {
    bytes_ += kSetBytes + 2 * found->first.size() * sizeof(uint64_t) + classes_ * sizeof(uint32_t);
    sets_.push_back(found->first);
    steps_.resize(steps_.size() + classes_, kUnknown);
  }
  return found->second;
}

uint32_t Machine::compute_step(uint32_t set, uint32_t byte_class) {
  const uint8_t byte = grammar_->class_byte(byte_class);
  places_.clear();
  seen_.clear();
  bool is_within_limits = bytes_ <= limits_.bytes;
  for (const uint64_t from : sets_[set]) {
    if (from == kEnd || !is_within_limits) break;
    for (const ByteEdge& edge : grammar_->byte_edges(state_of(from))) {
      const bool fits = byte >= edge.bytes.first && byte <= edge.bytes.last;
      if (fits && is_within_limits) is_within_limits = enter(place_of(edge.to, callers_of(from)), true);
    }
  }
  if (!is_within_limits || !call_rules()) {
    for (const uint32_t rule : called_) calls_[rule].clear();
    called_.clear();
    is_exhausted_ = true;
    return kDead;
  }
  const uint32_t to = intern_set(places_);
  steps_[uint64_t{set} * classes_ + byte_class] = to;
  return to;
}

uint32_t Machine::step_over(uint32_t set, std::string_view bytes) {
  for (const char c : bytes) {
    if (set == kDead) break;
    set = step(set, grammar_->class_of(static_cast<uint8_t>(c)));
  }
  return set;
}

void Machine::keep_only(std::span<uint32_t> sets) {
  std::vector<Places> kept;
  for (const uint32_t set : sets) kept.push_back(sets_[set]);
  const std::vector<Callers> old = std::move(callers_);
  std::vector<bool> is_needed(old.size());
  const auto need = [&](const Places& places) {
    for (const uint64_t place : places) {
      if (place != kEnd) is_needed[callers_of(place)] = true;
    }
  };
  for (const Places& places : kept) need(places);
  for (size_t i = old.size(); i-- > 0;) {
    if (is_needed[i]) need(old[i].places);
  }
  clear();
  std::vector<uint32_t> numbers(old.size());
  const auto renumbered = [&](Places places) {
    for (uint64_t& place : places) {
      if (place != kEnd) place = place_of(state_of(place), numbers[callers_of(place)]);
    }
    return places;
  };
  for (size_t i = 0; i < old.size(); ++i) {
    if (is_needed[i]) numbers[i] = intern_callers(renumbered(old[i].places));
  }
  for (size_t i = 0; i < kept.size(); ++i) sets[i] = intern_set(renumbered(std::move(kept[i])));
}

}  // namespace cria::grammar
