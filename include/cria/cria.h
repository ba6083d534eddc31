// Cria's public C++ API: load a model, read and continue texts, look at logits.
//
//   auto model = cria::Model::load("models/llama");
//   auto session = model->create_session();
//   session->generate("Once upon a time", {}, [](std::string_view text) { std::cout << text; return true; });
//
// Every fallible call returns std::expected with a Failure that holds one sentence for a person. Objects
// of one model are used by one thread at a time.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

/// Why a call failed, as one sentence that names the thing, the value and the limit.
struct Failure {
  std::string message;
};
template <typename T>
using Expected = std::expected<T, Failure>;

struct LoadOptions {
  std::string device;             ///< index or part of a name, as `cria devices` lists them; empty: the best
  std::string disabled_features;  ///< "f16,subgroups,subgroup-matrix,timestamps": features not to use
  /// Type of weights on the GPU: auto (as stored), f32, f16, bf16, int8, int4, q4_k, q5_k or q6_k.
  std::string weights = "auto";
  std::string kv_type = "auto";  ///< type of the KV cache: auto, f32, f16, int8
  uint32_t max_context = 0;      ///< positions; 0: the model's own limit
};

/// Unset fields come from the model's generation_config.json, then from the values in brackets.
struct GenerateOptions {
  uint32_t max_tokens = 256;
  std::optional<float> temperature = {};         ///< 0 is greedy [0.7]
  std::optional<uint32_t> top_k = {};            ///< 0 keeps all [40]
  std::optional<float> top_p = {};               ///< (0, 1] [0.95]
  std::optional<float> min_p = {};               ///< [0, 1] [0]
  std::optional<float> repetition_penalty = {};  ///< (0, 100] [1.1]
  std::optional<uint64_t> seed = {};             ///< a new one each time if unset
  std::optional<float> presence_penalty = {};    ///< of what was generated before, [-2, 2] [0]
  std::optional<float> frequency_penalty = {};   ///< as often as it was generated, [-2, 2] [0]
};

struct GenerateResult {
  uint32_t prompt_tokens = 0;
  uint32_t generated_tokens = 0;
  std::string stop_reason;  ///< "end of text", "token limit reached", "context full", "interrupted"
  uint64_t seed = 0;
};

/// Receives text as it is made, whole UTF-8 characters at a time; returning false stops. May be empty.
using TextCallback = std::function<bool(std::string_view)>;

/// A text that grows: what was read and generated stays in the model's cache.
class Session {
 public:
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Reads `text` after what is already there, then generates. A text that is empty, too long for the
  /// context or not UTF-8 is a failure that changes nothing.
  Expected<GenerateResult> generate(std::string_view text, const GenerateOptions& options, const TextCallback& on_text);
  /// Reads `text` and returns the logits [vocab_size] of the token after it.
  Expected<std::vector<float>> logits(std::string_view text);
  /// Starts over with an empty text.
  Expected<void> clear();

 private:
  friend class Model;
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class Model {
 public:
  /// Loads a model onto a GPU: a folder (config.json, tokenizer.json, *.safetensors) or a GGUF file.
  static Expected<Model> load(const std::filesystem::path& path, const LoadOptions& options = {});

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  [[nodiscard]] uint32_t vocab_size() const;
  [[nodiscard]] uint32_t max_context() const;
  /// The name of the device that the model is on.
  [[nodiscard]] std::string device_name() const;

  /// One session exists at a time; it must not outlive the model.
  Expected<Session> create_session();

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cria
