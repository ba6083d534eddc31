// Quantised matrices in safetensors files, as `cria quantize` writes them.
//
// safetensors has no types of blocks. A matrix [rows, columns] of Q8_0 or another type of blocks (src/quant/) is stored
// as a tensor of U8 [rows, bytes of a row] under its own name, and the file's metadata has an entry whose key is
// "block_type." and the tensor's name, and whose value is the type's name, for example "Q8_0".
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "formats/tensor.h"

namespace cria::formats {

inline constexpr std::string_view kBlockTypeKey = "block_type.";

/// The type of blocks of that name, or nothing.
[[nodiscard]] std::optional<DType> block_type_of_name(std::string_view name);

/// The tensor as the matrix of blocks that the metadata say it is; nothing where they say nothing of it. `name` (the
/// file's) begins messages. Errors: kInvalidInput where it is not of U8 or rows are no whole blocks; kUnsupported for
/// an unknown type.
Result<std::optional<TensorView>> as_blocks(const TensorView& tensor,
                                            const std::map<std::string, std::string>& metadata, std::string_view name);

}  // namespace cria::formats
