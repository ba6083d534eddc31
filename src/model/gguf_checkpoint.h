// A GGUF file as a checkpoint: its tensors under the names of Hugging Face, its metadata as a configuration.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "model/config.h"

namespace cria::model {

/// RoPE divisors of each pair of dimensions, [head_dim / 2]: how GGUF files keep Llama 3's scaling.
inline constexpr std::string_view kRopeFactorsName = "rope_freqs.weight";

class GgufCheckpoint : public formats::Checkpoint {
 public:
  /// Opens a file, or all files of a split model. Errors: those of Gguf::open; kUnsupported for other architectures.
  static Result<GgufCheckpoint> open(const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& path() const override { return gguf_.path(); }
  [[nodiscard]] const formats::TensorView* find(std::string_view name) const override;
  [[nodiscard]] std::vector<std::string> names() const override;
  [[nodiscard]] std::string stored_name(std::string_view name) const override;

  [[nodiscard]] const formats::Gguf& gguf() const { return gguf_; }
  /// The metadata and what the tensors add to it: the vocabulary's size, biases, tied embeddings.
  /// Errors: kInvalidInput, kUnsupported, naming the key.
  [[nodiscard]] Result<ModelConfig> config() const;

 private:
  formats::Gguf gguf_;
  std::map<std::string, formats::TensorView, std::less<>> tensors_;  // by Hugging Face's names
  formats::TensorView rope_factors_;                                 // no data where there are none
};

/// What general.sampling.* suggests, and the tokens that end a text or a turn.
Result<GenerationDefaults> gguf_generation_defaults(const formats::GgufFields& fields, const ModelConfig& config);

}  // namespace cria::model
