#include "formats/block_tensors.h"

#include "base/checked.h"
#include "formats/safetensors_header.h"

namespace cria::formats {

Result<std::optional<TensorView>> as_blocks(const TensorView& tensor,
                                            const std::map<std::string, std::string>& metadata, std::string_view name) {
  const auto entry = metadata.find(std::string(kBlockTypeKey) + tensor.name);
  if (entry == metadata.end()) return std::nullopt;
  const auto type = block_type_of_name(entry->second);
  if (!type) {
    return fail(ErrorCode::kUnsupported,
                "{}: tensor \"{}\" is said to be of blocks of the type \"{}\", which is unknown", name,
                shown_name(tensor.name), shown_name(entry->second));
  }
  const uint64_t bytes = dtype_bytes(*type);
  if (tensor.dtype != DType::kU8 || tensor.shape.size() != 2 || tensor.shape[1] % bytes != 0) {
    return fail(ErrorCode::kInvalidInput,
                "{}: tensor \"{}\" is said to be of blocks of {}, but is no matrix of U8 with rows of whole {} bytes",
                name, shown_name(tensor.name), entry->second, bytes);
  }
  const auto columns = checked_multiply(tensor.shape[1] / bytes, dtype_block(*type));
  if (!columns) {
    return fail(ErrorCode::kInvalidInput, "{}: the columns of tensor \"{}\" overflow 64 bits", name,
                shown_name(tensor.name));
  }
  TensorView view = tensor;
  view.dtype = *type;
  view.shape[1] = *columns;
  return view;
}

}  // namespace cria::formats
