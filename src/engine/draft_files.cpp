#include "engine/draft_files.h"

#include <algorithm>

#include "model/synthetic.h"

namespace cria::engine {
namespace {

/// Of the drafting model's cache where memory is short: longer texts go on without drafts.
constexpr uint32_t kShortContext = 8192;

std::string shown_token(std::optional<std::string_view> token) {
  return token ? fmt::format("\"{}\"", *token) : std::string("nothing");
}

Status check_counts(size_t target, size_t draft) {
  if (target == draft) return {};
  return fail(ErrorCode::kUnsupported, "the model has {} tokens and the one that drafts {}: they must have the same",
              with_commas(target), with_commas(draft));
}

}  // namespace

Status check_same_tokens(const text::Tokenizer& target, const text::Tokenizer& draft) {
  CRIA_TRY(check_counts(target.vocab_size(), draft.vocab_size()));
  for (uint32_t id = 0; id < target.vocab_size(); ++id) {
    if (target.id_to_token(id) == draft.id_to_token(id)) continue;
    return fail(ErrorCode::kUnsupported,
                "token {} is {} for the model and {} for the one that drafts: they must have the same tokens", id,
                shown_token(target.id_to_token(id)), shown_token(draft.id_to_token(id)));
  }
  return {};
}

Result<DraftFiles> DraftFiles::open(const gpu::Device& device, const DraftOptions& draft,
                                    const model::ModelOptions& options, const model::ModelConfig& target,
                                    const text::Tokenizer* tokenizer) {
  DraftFiles files;
  bool is_compared = false;
  if (draft.made_up) {
    files.config_ = *draft.made_up;
  } else {
    CRIA_TRY_ASSIGN(files.opened_, open_model(draft.model));
    files.config_ = files.opened_->config;
    is_compared = tokenizer != nullptr && files.opened_->files.has_tokenizer();
    if (is_compared) {
      CRIA_TRY_ASSIGN(const text::Tokenizer own, files.opened_->files.tokenizer());
      if (auto same = check_same_tokens(*tokenizer, own); !same) {
        return std::unexpected(std::move(same).error().while_doing(fmt::format("opening {}", draft.model.string())));
      }
    }
  }
  if (!is_compared) CRIA_TRY(check_counts(target.vocab_size, files.config_.vocab_size));
  files.options_ = options;
  files.options_.streamed_layers = files.options_.streamed_kv = 0;
  files.options_.few_tokens = 2 * options.slots;  // the first step may read two tokens of each text
  uint32_t context = options.max_context != 0 ? options.max_context : target.max_position_embeddings;
  if (device.memory_budget() != 0 && options.max_context == 0) context = std::min(context, kShortContext);
  files.options_.max_context = std::min(context, files.config_.max_position_embeddings);
  const model::FormatChoice formats = files.opened_ ? formats_of(*files.opened_)(files.options_.weights)
                                                    : model::made_up_formats(files.options_.weights);
  const gpu::DeviceInfo& info = device.info();
  CRIA_TRY_ASSIGN(files.plan_, model::plan(info.limits, info.is_software(), files.config_, formats, files.options_));
  return files;
}

Result<model::Model> DraftFiles::load(gpu::Device& device) const {
  if (!opened_) return model::Model::make_up(device, config_, options_);
  const auto on_progress = [](uint64_t) {};
  return model::Model::load(device, opened_->files.checkpoint(), config_, options_, on_progress);
}

}  // namespace cria::engine
