// The reader of GGUF files: header, metadata under every type that a caller may ask for, directory of tensors.
#include "formats/gguf.h"

#include "fuzz_target.h"

namespace cria::fuzz {
namespace {

bool is_inside(std::span<const std::byte> part, std::string_view file) {
  const auto whole = bytes_of(file);
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_field(const formats::GgufFields& fields, std::string_view key, std::string_view file) {
  CRIA_CHECK(is_inside(fields.find(key)->data, file));
  if (const auto value = fields.whole(key, 1, 1000); is_sound(value)) CRIA_CHECK(**value >= 1 && **value <= 1000);
  if (const auto value = fields.number(key, 0, 1); is_sound(value)) CRIA_CHECK(**value >= 0 && **value <= 1);
  is_sound(fields.boolean(key));
  if (const auto text = fields.string(key); is_sound(text)) CRIA_CHECK(is_inside(bytes_of(**text), file));
  if (const auto list = fields.wholes(key, 0, UINT64_MAX); is_sound(list)) CRIA_CHECK(list->size() <= file.size());
  if (const auto list = fields.numbers(key); is_sound(list)) CRIA_CHECK(list->size() <= file.size());
  if (const auto list = fields.strings(key); is_sound(list)) {
    for (const std::string_view text : *list) CRIA_CHECK(is_inside(bytes_of(text), file));
  }
}

}  // namespace

CRIA_FUZZ_TARGET(gguf, 4096) {
  const auto contents = formats::parse_gguf(bytes_of(input), "file");
  if (!is_sound(contents)) return;
  const formats::GgufFields fields(contents->metadata, "file");
  for (const auto& [key, value] : contents->metadata) check_field(fields, key, input);
  for (const formats::TensorView& tensor : contents->tensors) {
    CRIA_CHECK(is_inside(tensor.data, input));
    CRIA_CHECK(tensor.file_offset % contents->alignment == 0);
    CRIA_CHECK(formats::tensor_bytes(tensor.shape, tensor.dtype) == tensor.data.size());
  }
}

}  // namespace cria::fuzz
