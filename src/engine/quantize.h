// A model's files in another type or format: what `cria quantize` does. Needs no GPU but for a calibration text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "gpu/device.h"
#include "model/weights.h"

namespace cria::engine {

struct QuantizeOptions {
  /// Type of the matrices; kAsStored keeps each tensor's own. Blocks have 32 columns.
  model::Precision precision = model::Precision::kInt8;
  /// A text that the model is run over before kInt4 is made, so that the blocks of 4 bits are those that change the
  /// products over it least (engine/calibration.h); empty: without. Takes a device, and memory for the model there.
  std::string calibration_text = {};
  gpu::DeviceOptions device = {};  ///< for the calibration text
  /// Whether attention's output matrices keep precision too, as queries, keys and values do: not below 6 bits.
  bool keeps_attention_output = false;
  bool show_progress = false;  ///< a progress bar on the terminal
};

struct QuantizeReport {
  uint64_t input_bytes = 0;  ///< of all tensors
  uint64_t output_bytes = 0;
};

/// Reads a Hugging Face folder or a GGUF file and writes the model to `output`: a GGUF file where its name ends in
/// .gguf, else a new folder. What is there is replaced whole (a file) or refused (a folder); a failure or an interrupt
/// leaves nothing behind. Memory: some pieces of tensors, and what a calibration takes. Errors: kInvalidInput where the
/// output exists as a folder or is one of the input's files, by whatever name, and for a calibration text with another
/// type than kInt4; kUnsupported where the format cannot say what the model needs; those of Calibration, of reading and
/// of writing.
Result<QuantizeReport> quantize(const std::filesystem::path& input, const std::filesystem::path& output,
                                const QuantizeOptions& options);

}  // namespace cria::engine
