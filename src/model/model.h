// A model on the GPU: its configuration, weights, KV cache and forward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "formats/checkpoint.h"
#include "gpu/device.h"
#include "kernels/attention.h"
#include "kernels/attention_matrix.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/linear.h"
#include "kernels/matmul_matrix.h"
#include "kernels/matvec_few.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/rope_kv.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "model/layer_stream.h"
#include "model/rope_table.h"
#include "model/tuning.h"
#include "model/weights.h"

namespace cria::model {

struct ModelOptions {
  WeightChoice weights;
  /// Type of the KV cache; kAuto keeps f32 for f32 weights and takes f16 otherwise.
  enum class Kv : uint8_t { kAuto, kF32, kF16, kInt8 } kv = Kv::kAuto;
  uint32_t max_context = 0;       ///< 0: the model's own limit
  uint32_t max_batch_tokens = 0;  ///< tokens in one forward pass; 0: chosen for the device
  uint32_t slots = 1;             ///< sequences that exist at once
  uint32_t few_tokens = 0;        ///< up to so many tokens, though of one sequence, are read like a decode step's
  uint32_t streamed_layers = 0;   ///< layers whose weights lie in memory of the host (LayerStream)
  uint32_t streamed_kv = 0;       ///< layers whose keys and values do (KvStream)
  /// Positions in the KV cache, of all sequences together; 0: as many as the context times slots. No context is longer.
  uint32_t cache_positions = 0;
  RopeRounding rope_rounding = RopeRounding::kNone;
  /// Whether prompts are read on matrix units, in f16, where the device has them: kAuto not on software devices, where
  /// they are no faster.
  enum class MatrixUnits : uint8_t { kAuto, kOn, kOff } matrix_units = MatrixUnits::kAuto;
  TuningOptions tuning;
};

/// Reads `auto`, `f32`, `f16` or `int8`. Errors: kInvalidInput.
Result<ModelOptions::Kv> parse_kv_type(std::string_view text);

/// What a model needs and how it is cut on a device; computed without loading (see `plan`).
struct MemoryPlan {
  kernels::KvType kv_type{};
  uint32_t max_context = 0;
  bool context_limited_by_binding = false;  ///< the device's binding limit is below the wanted context
  uint32_t max_batch_tokens = 0;
  uint64_t weight_bytes = 0;       ///< on the device
  uint64_t step_weight_bytes = 0;  ///< that one decoding step reads: all but an embedding that is only looked up
  uint64_t kv_bytes_per_position = 0;
  uint32_t step_rows = 0;    ///< rows that a decode step may have, or a pass of few tokens
  uint32_t cache_pages = 0;  ///< of kernels::kPageSize positions, of all slots together
  uint64_t kv_bytes = 0;  ///< on the device at the full context of all slots, with what growing to it takes meanwhile
  uint64_t scratch_bytes = 0;
  uint64_t working_bytes = 0;  ///< parameters of kernels, uploads, logits and sampling of all slots
  uint32_t streamed_layers = 0;
  uint32_t streamed_kv = 0;
  uint64_t host_weight_bytes = 0;  ///< of streamed layers, in memory of the host
  uint64_t host_kv_bytes = 0;      ///< of streamed layers at the full context

  /// The most that the device needs at any moment.
  [[nodiscard]] uint64_t total_bytes() const { return weight_bytes + kv_bytes + scratch_bytes + working_bytes; }
};

/// Decides batch size, context and KV type for a device; options.weights is not used, as `formats` tells the
/// format of each matrix (formats_from, made_up_formats). Errors: kOutOfMemory where one row of
/// activations or logits does not fit a binding; kInvalidInput for a context out of range; kUnsupported where the
/// KV type does not suit the heads.
Result<MemoryPlan> plan(const gpu::Limits& limits, bool is_software, const ModelConfig& config,
                        const FormatChoice& formats, const ModelOptions& options);

/// The products of a layer behind its attention, in their order.
enum class Product : uint8_t { kO, kGateUp, kDown };

/// One forward pass over tokens of one or several sequences.
struct Batch {
  std::vector<uint32_t> tokens;       ///< token ids; empty: they are already in Model::tokens() on the GPU
  std::vector<uint32_t> positions;    ///< of each token in its sequence, ascending within one
  std::vector<uint32_t> slots;        ///< of each token's sequence
  std::vector<uint32_t> output_rows;  ///< indices of the tokens whose logits are wanted, ascending
  /// Length for which dynamic RoPE scaling is computed: of the whole prompt, or of the sequence so far.
  uint32_t rope_length = 0;
  /// Of a batch of one sequence: adds the hidden states of its tokens, after the final norm, to hidden_sums(). From
  /// position 0 on the sum begins anew.
  bool sums_hidden = false;
  /// Runs one layer alone, in f32 and without output: the first, or one whose inputs stand in hidden(), as the pass
  /// before left them or as they were written there.
  std::optional<uint32_t> only_layer = {};
  /// Of only_layer: the product before which it ends, with the product's inputs in product_input().
  std::optional<Product> before = {};

  [[nodiscard]] uint32_t size() const { return static_cast<uint32_t>(positions.size()); }
  /// `count` positions of one sequence from `first` on, behind which it ends; the tokens are the caller's to add.
  [[nodiscard]] static Batch of(uint32_t slot, uint32_t first, uint32_t count);
  /// The logits of all its tokens are wanted.
  void output_all();
};

/// Steps of one token that may be recorded together.
inline constexpr uint32_t kMaxStepsTogether = 8;

class Model {
 public:
  /// Loads the weights of a checked checkpoint onto the device. `on_progress` gets bytes of it.
  static Result<Model> load(gpu::Device& device, const formats::Checkpoint& checkpoint, const ModelConfig& config,
                            const ModelOptions& options, const std::function<void(uint64_t)>& on_progress);

  /// The same with made-up weights (make_up_weights), for measurements without a checkpoint.
  static Result<Model> make_up(gpu::Device& device, const ModelConfig& config, const ModelOptions& options);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const MemoryPlan& memory_plan() const { return plan_; }
  [[nodiscard]] KvCache& kv_cache() { return kv_cache_; }
  /// Bytes that the last pass moved between host and device because layers are streamed.
  [[nodiscard]] uint64_t streamed_bytes() const { return layer_stream_.bytes() + kv_cache_.stream().bytes_of_pass(); }
  /// Ids of the batch's tokens, u32 [max_batch_tokens]: written by forward or by the sampler.
  [[nodiscard]] const gpu::Buffer& tokens() const { return tokens_; }
  /// f32 [max_output_rows, vocab_size]: what the last forward pass gave.
  [[nodiscard]] const kernels::Activation& logits() const { return logits_; }
  /// f32 [slots, hidden_size]: what passes with Batch::sums_hidden added up; not valid before the first one.
  [[nodiscard]] const kernels::Activation& hidden_sums() const { return hidden_sums_; }
  /// f32 [tokens, hidden_size]: what the last layer left, not yet normed.
  [[nodiscard]] const kernels::Activation& hidden() const { return scratch_.hidden; }
  /// f32 [tokens, columns of the matrix], after a pass that ended before this product.
  [[nodiscard]] const kernels::Activation& product_input(Product product) const;
  [[nodiscard]] uint32_t max_batch_tokens() const { return plan_.max_batch_tokens; }

  /// Exchanges matrices of a layer for those that are given, of the same shapes and any formats, for passes with
  /// Batch::only_layer. Errors: kDevice.
  Status exchange(gpu::Device& device, uint32_t layer, LayerMatrices& others);

  /// Records the forward pass of a batch (at most max_batch_tokens, pages reserved beforehand): keys and
  /// values go to the cache, logits of the output rows to logits(). One forward pass per submission, or up to
  /// kMaxStepsTogether of one token each, whose tokens are drawn between them.
  /// Errors: kOutOfMemory, kDevice.
  Status forward(gpu::Device& device, gpu::Recorder& recorder, const Batch& batch);

  /// Makes room for logits of more rows than one. Errors: kOutOfMemory.
  Status reserve_output_rows(gpu::Device& device, uint32_t rows);

 private:
  /// A Linear for matrices of one kind.
  struct LinearVariant {
    kernels::WeightFormat format;
    uint32_t columns = 0;
    bool has_bias = false;
    kernels::Linear op;
    [[nodiscard]] bool serves(const kernels::Matrix& matrix) const {
      return format == matrix.format && columns == matrix.columns && has_bias == matrix.bias.valid();
    }
  };
  struct Kernels {
    kernels::Embedding embedding;
    kernels::RmsNorm rms_norm;
    kernels::HeadNorm head_norm;
    kernels::Rope rope;
    kernels::KvWrite kv_write;
    kernels::Attention attention;
    kernels::SwiGlu swiglu;
    kernels::ResidualAdd residual_add;
    kernels::GatherRows gather_rows;
    kernels::SumRows sum_rows;
    kernels::AttentionStep attention_step;
    std::optional<kernels::AttentionMatrix> attention_matrix;
    std::optional<kernels::RopeKv> rope_kv;
    std::vector<LinearVariant> linear;
    std::vector<std::pair<kernels::MatVecSpec, kernels::MatVec>> matvec;
    kernels::XBlocks x_blocks;
    std::vector<std::pair<kernels::MatVecSpec, kernels::MatVecFew>> few;        // empty: not all weights are quantised
    std::vector<std::pair<kernels::MatMulSpec, kernels::MatrixMatMul>> matmul;  // empty: no matrix units
  };
  struct Scratch {
    kernels::Activation hidden, normed, qkv, attended, projected, gate_up, activated, gathered;
  };

  static Result<Model> create(gpu::Device& device, const ModelConfig& config, const ModelOptions& options,
                              const FormatChoice& formats, const WeightSource& make_weights);
  Status create_kernels(gpu::Device& device);
  Status create_linear(gpu::Device& device, const kernels::Matrix& weight);
  Status create_step_kernels(gpu::Device& device, const ModelOptions& options, Tuner& tuner);
  Status create_matrix_kernels(gpu::Device& device, const ModelOptions& options, Tuner& tuner);
  Status create_step_products(gpu::Device& device, Tuner& tuner);
  Status join_qk_norms(gpu::Device& device);
  Status create_buffers(gpu::Device& device, const ModelOptions& options);
  Status upload_batch(gpu::Device& device, gpu::Recorder& recorder, const Batch& batch,
                      uint32_t attention_tile);  // 0: no tiles
  [[nodiscard]] bool is_step(const Batch& batch) const;
  [[nodiscard]] bool is_few(const Batch& batch) const;
  [[nodiscard]] uint32_t least_matrix_step_tokens() const;
  [[nodiscard]] bool is_for_matrix_units(uint32_t tokens) const;
  [[nodiscard]] bool has_few_products(uint32_t tokens) const;
  [[nodiscard]] bool uses_matrix_units(const Batch& batch) const;
  /// Records all layers, each by `record`, and what has to be copied between them where layers are streamed.
  /// `in_pieces` hands over what there is now and then, so that the GPU begins while the rest is recorded.
  void record_layers(gpu::Recorder& recorder, bool in_pieces, const std::function<void(uint32_t)>& record) const;
  void record_layer(gpu::Recorder& recorder, uint32_t index, std::optional<Product> before = {});
  /// Records what the heads find, from queries, keys and values to `attended`.
  using RecordAttention = std::function<void(const kernels::Activation& attended)>;
  void record_matrix_layer(gpu::Recorder& recorder, uint32_t index, const RecordAttention& record_attention);
  bool record_attention_step(gpu::Recorder& recorder, uint32_t index, uint32_t longest, bool is_ready, bool to_blocks,
                             const kernels::Activation& attended);
  void record_attention(gpu::Recorder& recorder, uint32_t index, const kernels::Activation& attended);
  void record_step_layer(gpu::Recorder& recorder, uint32_t index, uint32_t longest);
  void record_few_layer(gpu::Recorder& recorder, uint32_t index);
  /// The same, to scratch_.attended; or quantised to x_blocks_, which it tells.
  using RecordFewAttention = std::function<bool()>;
  void record_products(gpu::Recorder& recorder, uint32_t index, bool turns, const RecordFewAttention& record_attention);
  [[nodiscard]] std::optional<kernels::StepHeads> step_heads(const gpu::Device& device) const;
  void record_few_products(gpu::Recorder& recorder, uint32_t index, const RecordFewAttention& record_attention);
  void record_few(gpu::Recorder& recorder, uint32_t outputs);
  void record_few_logits(gpu::Recorder& recorder, const kernels::Activation& hidden, uint32_t rows);
  void record_step_output(gpu::Recorder& recorder);
  void record_prompt(gpu::Recorder& recorder, bool matrix_units, uint32_t outputs);
  void record_step(gpu::Recorder& recorder, uint32_t longest, uint32_t outputs);
  void record_output(gpu::Recorder& recorder, uint32_t outputs);
  Status record_hidden_sum(gpu::Device& device, gpu::Recorder& recorder, const Batch& batch);
  void linear(gpu::Recorder& recorder, const kernels::Matrix& weight, const kernels::Activation& x,
              const kernels::Activation& y, uint32_t tokens) const;
  void few(gpu::Recorder& recorder, const kernels::MatVecSpec& spec, const kernels::Matrix& weight,
           const kernels::Activation& y, uint32_t tokens) const;
  [[nodiscard]] const kernels::MatVec& matvec(const kernels::MatVecSpec& spec) const;
  void matmul(gpu::Recorder& recorder, const kernels::Matrix& weight, kernels::MatVecOutput output,
              const kernels::Activation& x, const kernels::Activation& y, uint32_t tokens) const;
  [[nodiscard]] const kernels::MatrixMatMul* find_matmul(const kernels::Matrix& weight, kernels::MatVecOutput output,
                                                         uint32_t tokens) const;

  ModelConfig config_;
  MemoryPlan plan_;
  Weights weights_;
  LayerStream layer_stream_;
  KvCache kv_cache_;
  Kernels kernels_;
  Scratch scratch_;
  kernels::AttentionShape attention_shape_;
  /// The heads of products that turn queries and keys and write the cache themselves (MatVecOutput::kRopeKv).
  std::optional<kernels::StepHeads> step_heads_;
  kernels::BatchBuffers batch_;
  std::vector<uint32_t> matrix_tokens_;  // the numbers of tokens that kernels_.matmul has kernels for, ascending
  uint32_t matrix_step_tokens_ = 0;      // up to so many, decode steps run on matrix units too
  uint32_t few_tokens_ = 0;              // ModelOptions::few_tokens
  RopeTable rope_table_;
  gpu::Buffer tokens_;
  gpu::Range cos_sin_, output_rows_;  // of the batch, as what batch_ has
  /// For what a batch uploads where it is large.
  struct {
    gpu::Buffer token_info, tiles, output_rows, cos_sin;
  } uploads_;
  kernels::BlockActivation x_blocks_;  // of a few tokens, with room for the widest input of a product
  std::vector<gpu::Buffer> qk_norms_;  // f32 [2, head_dim] of each layer, for decode steps; empty without them
  gpu::Buffer attention_parts_;        // of a decode step whose context is split; not valid without that kernel
  gpu::Buffer product_parts_;          // of products that are shared out by columns; not valid where none is
  kernels::Activation logits_, hidden_sums_;
};

}  // namespace cria::model
