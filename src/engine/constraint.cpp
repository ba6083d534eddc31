#include "engine/constraint.h"

#include <algorithm>

#include "text/unicode.h"

namespace cria::engine {
namespace {

constexpr size_t kKeptGrammars = 8;
/// Of each grammar that is kept; their masks take as much again.
constexpr grammar::MachineLimits kLimits{.bytes = 16ULL << 20U};

/// Special tokens stand for no text: only a grammar that names one gets it. Never offered are those that only the model
/// has, and bytes that no text holds and of which special tokens could be put together.
std::shared_ptr<const grammar::Vocabulary> vocabulary_of(const text::Tokenizer& tokenizer, uint32_t size) {
  std::vector<std::string> tokens(size);
  const auto known = static_cast<uint32_t>(std::min<size_t>(size, tokenizer.vocab_size()));
  for (uint32_t token = 0; token < known; ++token) {
    if (tokenizer.is_special(token)) {
      tokens[token] = grammar::special_token_bytes(token);
    } else if (std::string bytes = tokenizer.token_bytes(token).value_or(""); !bytes.contains('\xFF')) {
      tokens[token] = std::move(bytes);
    }
  }
  return std::make_shared<const grammar::Vocabulary>(tokens);
}

}  // namespace

Status Constraint::advance(uint32_t token) {
  constexpr size_t kShownBytes = 40;
  if (!matcher_.advance(token)) {
    return fail(ErrorCode::kInvalidInput, "the token {} is not among those that the grammar allows", token);
  }
  end_ += vocabulary_->bytes(token);
  if (end_.size() > kShownBytes) end_.erase(0, end_.size() - kShownBytes);
  return look_ahead();
}

Status Constraint::look_ahead() {
  const std::span<const uint32_t> allowed = matcher_.mask();
  mask_.assign(allowed.begin(), allowed.end());
  const auto set_stops = [&](bool value) {
    for (const uint32_t token : stop_tokens_) {
      if (token >= vocabulary_->size()) continue;
      const uint32_t bit = 1U << (token % 32);
      mask_[token / 32] = value ? mask_[token / 32] | bit : mask_[token / 32] & ~bit;
    }
  };
  set_stops(false);
  const bool may_go_on = std::ranges::any_of(mask_, [](uint32_t word) { return word != 0; });
  is_complete_ = matcher_.may_end() && !may_go_on;
  if (matcher_.may_end()) set_stops(true);
  if (may_go_on || is_complete_) return {};
  return fail(ErrorCode::kInvalidInput, "the grammar allows no token of the vocabulary {}",
              end_.empty() ? "at the begin of the text" : fmt::format("behind \"{}\"", text::to_valid_utf8(end_)));
}

Result<Constraint> Constraints::begin(const std::shared_ptr<const grammar::Grammar>& grammar,
                                      const std::vector<uint32_t>& stop_tokens) {
  if (!vocabulary_) vocabulary_ = vocabulary_of(engine_->tokenizer(), engine_->config().vocab_size);
  auto masks = std::ranges::find_if(recent_, [&](const auto& entry) { return entry->grammar() == grammar; });
  if (masks == recent_.end()) {
    if (recent_.size() >= kKeptGrammars) recent_.erase(recent_.begin());
    recent_.push_back(std::make_shared<grammar::TokenMasks>(grammar, vocabulary_, kLimits));
  } else {
    std::rotate(masks, masks + 1, recent_.end());
  }
  Constraint constraint(grammar::Matcher(recent_.back()), *vocabulary_, stop_tokens);
  CRIA_TRY(constraint.look_ahead());
  return constraint;
}

}  // namespace cria::engine
