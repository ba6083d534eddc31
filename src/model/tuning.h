// Choosing by measurement how products with weights are cut, and remembering the choice in a file.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/matmul_matrix.h"
#include "kernels/matvec_few.h"

namespace cria::model {

/// Whether kernels are measured where more than one cut of their work is right.
enum class TuningMode : uint8_t {
  kOff,    ///< never: the default cuts, the same on every run
  kOn,     ///< where the file does not tell
  kRenew,  ///< again, whatever the file tells
};
/// Reads `off`, `on` or `renew`. Errors: kInvalidInput.
Result<TuningMode> parse_tuning_mode(std::string_view text);

struct TuningOptions {
  TuningMode mode = TuningMode::kOff;
  std::filesystem::path file;  ///< where choices are kept; empty: nowhere
};

namespace detail {
/// Kernels that do the same, to be run on one matrix after the other.
struct Trial {
  std::string name;
  std::vector<std::string> candidates;
  std::span<const kernels::Matrix* const> matrices;
  std::function<void(gpu::Recorder&, size_t candidate, const kernels::Matrix&)> record;
};
class ClockGauge;
}  // namespace detail

/// The choices for one device, driver and set of features. A file that cannot be read or written costs a warning
/// and measurements, never the run.
class Tuner {
 public:
  Tuner(gpu::Device& device, TuningOptions options);

  /// The cut for a spec: the file's, or the fastest on these matrices, or the default one. All matrices serve the
  /// spec; together they should not fit into the GPU's caches. Errors: kDevice, kOutOfMemory.
  Result<kernels::MatVecCut> choose(const kernels::MatVecSpec& spec, std::span<const kernels::Matrix* const> matrices);
  /// The same for products of a few tokens (MatVecFew).
  Result<kernels::MatVecCut> choose_few(const kernels::MatVecSpec& spec,
                                        std::span<const kernels::Matrix* const> matrices);
  Result<kernels::MatMulCut> choose(const kernels::MatMulSpec& spec, std::span<const kernels::Matrix* const> matrices);

  /// Writes what was measured, if anything was.
  void save();

 private:
  template <typename Cut>
  Result<Cut> choose(const std::string& name, const std::vector<Cut>& cuts,
                     const std::function<bool(const Cut&)>& is_valid,
                     const std::function<Result<detail::Trial>(const std::vector<Cut>&)>& make_trial);

  gpu::Device& device_;
  TuningOptions options_;
  std::string key_;                           // of the device
  std::map<std::string, std::string> known_;  // cuts as JSON, by the spec's name
  bool changed_ = false;
  std::shared_ptr<detail::ClockGauge> gauge_;  // from the first measurement on
};

}  // namespace cria::model
