// The tensors of a model in other types, one at a time: what `cria quantize` writes.
#pragma once

#include <string>
#include <vector>

#include "base/platform.h"
#include "formats/checkpoint.h"
#include "model/weight_table.h"
#include "model/weights.h"
#include "quant/second_moments.h"

namespace cria::model {

/// A tensor to be written.
struct ConvertedTensor {
  std::string name;  ///< Hugging Face's
  const formats::TensorView* source = nullptr;
  formats::DType dtype = formats::DType::kF32;
  std::vector<uint64_t> shape;

  /// Of the converted data.
  [[nodiscard]] uint64_t bytes() const { return formats::tensor_bytes(shape, dtype).value_or(0); }
};

/// All tensors of the table, in its order. Matrices get the type of the precision: kInt8 means Q8_0 and kInt4 Q4_0,
/// where those that keep precision are Q6_K, or Q8_0 where rows are no whole super-blocks, and rows that are no whole
/// blocks F16; kAsStored keeps each type. Norms and biases become F32. The checkpoint must have been checked
/// (check_tensors) and outlive the list.
std::vector<ConvertedTensor> converted_tensors(const WeightTable& table, const formats::Checkpoint& checkpoint,
                                               Precision precision);

/// Converts a tensor on all cores and writes it, a piece while the next one is made; rows in the order of `paired_rows`
/// (TensorView). With `inputs`, the second moments of what the tensor is multiplied by, blocks of Q4_0 are those that
/// change the products least (quant/compensated_encode.h); other types do not take them. Memory: two pieces of some
/// MiB. Errors: kInvalidInput for a value that does not fit the type, kIo where it is interrupted
/// (platform::interrupted) and those of `write`.
Status write_converted(const ConvertedTensor& tensor, uint32_t paired_rows, const quant::SecondMoments* inputs,
                       const platform::WriteBytes& write);

}  // namespace cria::model
