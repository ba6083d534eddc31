#include "engine/perplexity.h"

#include <algorithm>
#include <cmath>

#include "engine/sequence.h"

namespace cria::engine {
namespace {

/// Logits are fetched for this much memory at once.
constexpr uint64_t kLogitBytes = 64ULL << 20;

/// Mean and spread of numbers that come one by one (Welford 1962).
class Moments {
 public:
  void add(double value) {
    ++count_;
    const double difference = value - mean_;
    mean_ += difference / static_cast<double>(count_);
    squares_ += difference * (value - mean_);
  }
  [[nodiscard]] uint64_t count() const { return count_; }
  [[nodiscard]] double mean() const { return mean_; }
  /// Standard error of the mean.
  [[nodiscard]] double error() const {
    const auto count = static_cast<double>(count_);
    return count_ < 2 ? 0 : std::sqrt(squares_ / (count - 1) / count);
  }

 private:
  uint64_t count_ = 0;
  double mean_ = 0, squares_ = 0;
};

/// Reads one window and adds the surprises of its tokens from `first_scored` on.
Status read_window(Engine& engine, Sequence& sequence, std::span<const uint32_t> window, uint32_t first_scored,
                   Moments& moments) {
  const uint64_t row_bytes = uint64_t{engine.config().vocab_size} * sizeof(float);
  const uint64_t at_once = std::max<uint64_t>(1, kLogitBytes / row_bytes);
  CRIA_TRY(sequence.clear());
  for (size_t begin = 0; begin < window.size(); begin += at_once) {
    const std::vector<uint32_t> part(
        window.begin() + static_cast<std::ptrdiff_t>(begin),
        window.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(window.size(), begin + at_once)));
    CRIA_TRY_ASSIGN(const auto rows, sequence.read_logits(part, static_cast<uint32_t>(part.size())));
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t predicted = begin + i + 1;
      if (predicted < first_scored || predicted >= window.size()) continue;
      const double value = surprise(rows[i], window[predicted]);
      if (!std::isfinite(value)) {
        return fail(ErrorCode::kNotFinite, "the logits of a token are NaN or infinite: the weights may be damaged");
      }
      moments.add(value);
    }
  }
  return {};
}

}  // namespace

double surprise(std::span<const float> logits, uint32_t token) {
  const double highest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum) - logits[token];
}

Result<Perplexity> perplexity(Engine& engine, std::span<const uint32_t> tokens, const PerplexityOptions& options,
                              const std::function<bool(uint64_t)>& on_progress) {
  const uint32_t context = engine.model().memory_plan().max_context;
  if (options.window < 2 || options.window > context) {
    return fail(ErrorCode::kInvalidInput, "a window of {} tokens is not from 2 to the context of {}", options.window,
                context);
  }
  if (options.stride < 1 || options.stride > options.window) {
    return fail(ErrorCode::kInvalidInput, "a stride of {} tokens is not from 1 to the window of {}", options.stride,
                options.window);
  }
  if (tokens.size() < options.window) {
    return fail(ErrorCode::kInvalidInput, "the text has {} tokens, fewer than one window of {}",
                with_commas(tokens.size()), options.window);
  }
  CRIA_TRY_ASSIGN(Sequence sequence, Sequence::create(engine));
  Moments moments;
  Perplexity result;
  for (size_t begin = 0; begin + options.window <= tokens.size(); begin += options.stride) {
    const uint32_t known = begin == 0 ? 1 : std::max(1U, options.window - options.stride);
    CRIA_TRY(read_window(engine, sequence, tokens.subspan(begin, options.window), known, moments));
    ++result.windows;
    if (!on_progress(options.stride)) break;
  }
  result.value = std::exp(moments.mean());
  result.standard_error = result.value * moments.error();
  result.predictions = moments.count();
  return result;
}

}  // namespace cria::engine
