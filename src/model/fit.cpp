#include "model/fit.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace cria::model {
namespace {

/// Contexts that are worth more, and less, than the precision of the weights.
constexpr uint32_t kGoodContext = 8192;
constexpr uint32_t kUsableContext = 2048;
constexpr uint32_t kLeastContext = 512;
/// Tokens at once: that cost little speed; the least; and, where each pass has to copy layers, as many as possible.
constexpr uint32_t kFewTokens = 128;
constexpr uint32_t kLeastTokens = 32;
constexpr uint32_t kLargeTokens[] = {2048, 1024};  // where memory is plentiful
constexpr uint32_t kStreamedTokens[] = {2048, 512, kFewTokens, kLeastTokens};

class Search {
 public:
  Search(const FitRequest& request, const ModelOptions& options) : request_(request), asked_(options) {}

  Result<Fit> run() {
    for (const WeightChoice& weights : weight_choices()) {
      for (const uint32_t context : contexts(full_context(), kGoodContext)) {
        if (fits(with(weights, context))) return found_;
      }
    }
    for (const WeightChoice& weights : weight_choices()) {
      for (const uint32_t context : contexts(kGoodContext, kUsableContext)) {
        for (const uint32_t tokens : batches(0, kFewTokens)) {
          for (const ModelOptions::Kv kv : kv_types()) {
            if (fits(with(weights, context, tokens, kv))) return found_;
          }
        }
      }
    }
    return streamed();
  }

 private:
  /// With as few bytes on the host as fit; of batches that lead to nearly as few, the largest.
  Result<Fit> streamed() {
    const WeightChoice weights = weight_choices().back();
    for (const uint32_t context : contexts(kUsableContext, kLeastContext)) {
      std::vector<Fit> candidates;  // of each batch size, the largest first
      for (const uint32_t tokens : streamed_batches()) {
        if (auto least = least_streamed(with(weights, context, tokens, asked_.kv))) candidates.push_back(*least);
      }
      if (candidates.empty()) continue;
      const uint64_t least = host_bytes(*std::ranges::min_element(candidates, {}, host_bytes));
      return *std::ranges::find_if(candidates, [&](const Fit& each) { return host_bytes(each) <= least + least / 4; });
    }
    return refusal();
  }

  /// What a pass has to copy.
  static uint64_t host_bytes(const Fit& fit) { return fit.plan.host_weight_bytes + fit.plan.host_kv_bytes; }

  /// Moves only keys and values, or only weights, whichever is less; both where neither is enough.
  std::optional<Fit> least_streamed(ModelOptions options) {
    std::optional<Fit> least;
    for (uint32_t ModelOptions::* streamed : {&ModelOptions::streamed_kv, &ModelOptions::streamed_layers}) {
      if (fits_with_fewest(options, streamed) && (!least || host_bytes(found_) < host_bytes(*least))) least = found_;
    }
    if (least) return least;
    options.streamed_layers = request_.config.num_layers;
    if (fits_with_fewest(options, &ModelOptions::streamed_kv)) return found_;
    return std::nullopt;
  }

  /// The smallest number of streamed layers that fits; more of them never take more of the device but for the first
  /// two.
  bool fits_with_fewest(ModelOptions options, uint32_t ModelOptions::* streamed) {
    const uint32_t first = options.*streamed;  // asked for: at least so many
    for (uint32_t count = std::max(first, 1U); count <= request_.config.num_layers; ++count) {
      options.*streamed = count;
      if (fits(options)) return true;
    }
    return false;
  }

  bool fits(const ModelOptions& options) {
    auto made = plan_of(options);
    if (!made) {
      if (!first_error_) first_error_ = std::move(made).error();
      return false;
    }
    if (!least_ || made->total_bytes() < least_->plan.total_bytes()) least_ = Fit{options, *made};
    if (made->total_bytes() > request_.budget) return false;
    found_ = {options, *made};
    return true;
  }

  [[nodiscard]] Result<MemoryPlan> plan_of(const ModelOptions& options) const {
    return plan(request_.limits, request_.is_software, request_.config, request_.formats(options.weights), options);
  }

  Result<Fit> refusal() {
    if (!least_) return std::unexpected(std::move(*first_error_));
    return fail(
        ErrorCode::kOutOfMemory,
        "the model does not fit into {} bytes: the least that it takes is {}, with weights {}, a KV cache in {} "
        "and {} positions of context",
        with_commas(request_.budget), with_commas(least_->plan.total_bytes()),
        precision_name(least_->options.weights.precision), kernels::kv_type_name(least_->plan.kv_type),
        with_commas(least_->plan.max_context));
  }

  /// Best first. Where files hold less than int8 or int4, these change nothing or are larger, and are not taken.
  [[nodiscard]] std::vector<WeightChoice> weight_choices() const {
    std::vector<WeightChoice> choices{asked_.weights};
    if (asked_.weights.precision != Precision::kAsStored) return choices;
    uint64_t smallest = weight_bytes(asked_.weights);
    for (const Precision precision : {Precision::kInt8, Precision::kInt4}) {
      const WeightChoice choice(precision, asked_.weights.block);
      const uint64_t bytes = weight_bytes(choice);
      if (bytes < smallest) choices.push_back(choice);
      smallest = std::min(smallest, bytes);
    }
    return choices;
  }

  [[nodiscard]] uint64_t weight_bytes(const WeightChoice& choice) const {
    const auto made = plan_of(with(choice, kLeastContext));
    return made ? made->weight_bytes + made->host_weight_bytes : UINT64_MAX;
  }

  [[nodiscard]] uint32_t full_context() const {
    return asked_.max_context != 0 ? asked_.max_context : request_.config.max_position_embeddings;
  }

  /// From a context down to another by halves, what the model's own allows; what was asked for alone.
  [[nodiscard]] std::vector<uint32_t> contexts(uint32_t high, uint32_t low) const {
    if (asked_.max_context != 0) return {asked_.max_context};
    std::vector<uint32_t> contexts;
    for (uint32_t context = std::min(high, full_context()); context >= low; context /= 2) contexts.push_back(context);
    if (contexts.empty()) contexts.push_back(std::min(low, full_context()));
    return contexts;
  }

  [[nodiscard]] std::vector<uint32_t> batches(uint32_t high, uint32_t low) const {
    if (asked_.max_batch_tokens != 0) return {asked_.max_batch_tokens};
    return {high, low};
  }

  [[nodiscard]] std::vector<uint32_t> streamed_batches() const {
    if (asked_.max_batch_tokens != 0) return {asked_.max_batch_tokens};
    return {std::begin(kStreamedTokens), std::end(kStreamedTokens)};
  }

  [[nodiscard]] std::vector<ModelOptions::Kv> kv_types() const {
    using Kv = ModelOptions::Kv;
    if (asked_.kv != Kv::kAuto || request_.config.head_dim % 8 != 0) return {asked_.kv};
    return {Kv::kAuto, Kv::kInt8};
  }

  [[nodiscard]] ModelOptions with(const WeightChoice& weights, uint32_t context) const {
    ModelOptions options = asked_;
    options.weights = weights;
    options.max_context = context;
    return options;
  }
  [[nodiscard]] ModelOptions with(const WeightChoice& weights, uint32_t context, uint32_t tokens,
                                  ModelOptions::Kv kv) const {
    ModelOptions options = with(weights, context);
    options.max_batch_tokens = tokens;
    options.kv = kv;
    return options;
  }

  const FitRequest& request_;
  const ModelOptions& asked_;
  Fit found_;
  std::optional<Fit> least_;
  std::optional<Error> first_error_;
};

}  // namespace

Result<Fit> fit(const FitRequest& request, const ModelOptions& options) { return Search(request, options).run(); }

Result<Fit> with_large_passes(const FitRequest& request, Fit fit) {
  if (fit.options.max_batch_tokens != 0) return fit;
  for (const uint32_t tokens : kLargeTokens) {
    ModelOptions options = fit.options;
    options.max_batch_tokens = tokens;
    CRIA_TRY_ASSIGN(MemoryPlan made, plan(request.limits, request.is_software, request.config,
                                          request.formats(options.weights), options));
    if (made.scratch_bytes <= request.budget / 32 && made.total_bytes() <= request.budget / 4 * 3) {
      return Fit{options, std::move(made)};
    }
  }
  return fit;
}

}  // namespace cria::model
