// The model that drafts for another one (DraftSource::kModel): its files, checked against that one's, and its memory.
#pragma once

#include <optional>

#include "engine/engine.h"

namespace cria::engine {

class DraftFiles {
 public:
  /// Opens what `draft` names, for a model of these options and this configuration, and its tokenizer where it has one.
  /// Errors: those of open_model and model::plan; kUnsupported where the two have other tokens or, where one has no
  /// tokenizer, other numbers of them.
  static Result<DraftFiles> open(const gpu::Device& device, const DraftOptions& draft,
                                 const model::ModelOptions& options, const model::ModelConfig& target,
                                 const text::Tokenizer* tokenizer);

  /// The most bytes of the device that it takes at any moment.
  [[nodiscard]] uint64_t total_bytes() const { return plan_.total_bytes(); }
  Result<model::Model> load(gpu::Device& device) const;

 private:
  std::optional<OpenedModel> opened_;  // nothing: its weights are made up
  model::ModelConfig config_;
  model::ModelOptions options_;
  model::MemoryPlan plan_;
};

/// Errors (kUnsupported) where two vocabularies differ, with their sizes or the first token that differs. Rows of the
/// models' matrices beyond the tokens do not matter.
[[nodiscard]] Status check_same_tokens(const text::Tokenizer& target, const text::Tokenizer& draft);

}  // namespace cria::engine
