// The reader of safetensors files: what it accepts lies in the file, without holes.
#include "formats/safetensors.h"

#include "formats/block_tensors.h"
#include "fuzz_target.h"

namespace cria::fuzz {
namespace {

void check_tensor(const formats::TensorView& tensor, std::string_view file) {
  CRIA_CHECK(tensor.file_offset <= file.size() && tensor.data.size() <= file.size() - tensor.file_offset);
  CRIA_CHECK(tensor.data.empty() || tensor.data.data() == bytes_of(file).data() + tensor.file_offset);
  CRIA_CHECK(formats::tensor_bytes(tensor.shape, tensor.dtype) == tensor.data.size());
}

}  // namespace

CRIA_FUZZ_TARGET(safetensors, 4096) {
  const auto header = formats::parse_safetensors(bytes_of(input), "file");
  if (!is_sound(header)) return;
  size_t bytes = 0;
  for (const formats::TensorView& tensor : header->tensors) {
    check_tensor(tensor, input);
    bytes += tensor.data.size();
    const auto blocks = formats::as_blocks(tensor, header->metadata, "file");
    if (is_sound(blocks) && *blocks) check_tensor(**blocks, input);
  }
  CRIA_CHECK(bytes <= input.size() - 8);
}

}  // namespace cria::fuzz
