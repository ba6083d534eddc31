// A whole model as it lies on the disk, opened as `cria run` does up to where weights go to the GPU: files with an
// index, files in parts, and everything in them that must fit together.
//
// The input is a row of files: "####", a character that says which, and what is in it.
#include <cstring>
#include <fstream>

#include "engine/model_files.h"
#include "fuzz_target.h"
#include "model/row_source.h"
#include "model/weight_table.h"
#include "temporary_folder.h"
#include "tokenizer_laws.h"

namespace cria::fuzz {
namespace {

constexpr std::string_view kMark = "####";
constexpr std::pair<char, const char*> kNames[] = {{'c', "config.json"},
                                                   {'g', "generation_config.json"},
                                                   {'t', "tokenizer.json"},
                                                   {'T', "tokenizer_config.json"},
                                                   {'j', "chat_template.jinja"},
                                                   {'m', "model.safetensors"},
                                                   {'i', "model.safetensors.index.json"},
                                                   {'a', "a.safetensors"},
                                                   {'b', "b.safetensors"},
                                                   {'G', "m.gguf"},
                                                   {'1', "m-00001-of-00002.gguf"},
                                                   {'2', "m-00002-of-00002.gguf"}};

/// The folder, with the files of one input.
class Folder {
 public:
  explicit Folder(std::string_view input) {
    for (size_t at = input.find(kMark); at != std::string_view::npos;) {
      std::string_view rest = input.substr(at + kMark.size());
      at = input.find(kMark, at + kMark.size());
      if (at != std::string_view::npos) rest = rest.substr(0, at - static_cast<size_t>(rest.data() - input.data()));
      const unsigned which = take_byte(rest);
      for (const auto& [letter, name] : kNames) {
        if (which == static_cast<unsigned char>(letter)) paths_.push_back(folder().write(name, rest));
      }
    }
  }
  ~Folder() {
    std::error_code ignored;
    for (const auto& path : paths_) std::filesystem::remove(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  static const TemporaryFolder& folder() {
    static const TemporaryFolder one;
    return one;
  }

 private:
  std::vector<std::filesystem::path> paths_;
};

/// Reads every row of a matrix in the forms that it can go to the GPU in.
void read_matrix(const model::MatrixSpec& spec, const formats::Checkpoint& checkpoint) {
  const model::RowSource source(spec, checkpoint);
  const uint64_t padded = kernels::padded_columns(spec.columns);
  for (const kernels::WeightType type : {kernels::WeightType::kF32, kernels::WeightType::kF16}) {
    const uint64_t row_bytes = padded * kernels::weight_type_bytes(type);
    std::vector<std::byte> rows(spec.rows() * row_bytes);
    is_sound(source.read(0, spec.rows(), type, row_bytes, rows));
  }
  const kernels::WeightFormat natural = source.natural_format();
  if (source.holds_blocks(natural)) {
    const uint64_t blocks = spec.rows() * (kernels::padded_columns(spec.columns, natural) / natural.block);
    std::vector<std::byte> integers(blocks * natural.block * kernels::weight_type_bits(natural.type) / 8);
    std::vector<std::byte> scales(blocks * kernels::scale_bytes(natural.type));
    source.read_blocks(0, spec.rows(), natural, integers, scales);
  }
  CRIA_CHECK(source.release(0, spec.rows()) > 0);
}

void read_weights(const model::ModelConfig& config, const formats::Checkpoint& checkpoint) {
  if (config.num_layers > 4) return;  // the table of a thousand layers takes milliseconds
  const model::WeightTable table = model::weight_table(config);
  if (!is_sound(model::check_tensors(table, checkpoint))) return;
  for (const model::MatrixSpec* spec : model::all_matrices(table)) {
    read_matrix(*spec, checkpoint);
    for (const auto& part : spec->parts) {
      if (!part.bias.empty()) CRIA_CHECK(model::to_f32(*checkpoint.find(part.bias)).size() == part.rows);
    }
  }
  for (const model::VectorSpec* spec : model::all_vectors(table)) {
    CRIA_CHECK(model::to_f32(*checkpoint.find(spec->name)).size() == spec->size);
  }
}

}  // namespace

CRIA_FUZZ_TARGET(model_folder, 16384) {
  const Folder folder(input);
  const auto files = engine::ModelFiles::open(Folder::folder().path());
  if (!is_sound(files)) return;
  const formats::Checkpoint& checkpoint = files->checkpoint();
  for (const std::string& name : checkpoint.names()) CRIA_CHECK(checkpoint.find(name) != nullptr);
  if (const auto config = files->config(); is_sound(config)) {
    is_sound(files->defaults(*config));
    read_weights(*config, checkpoint);
  }
  is_sound(files->chat_template());
  if (!files->has_tokenizer()) return;
  if (const auto tokenizer = files->tokenizer(); is_sound(tokenizer)) check_encoding(*tokenizer, " a<s> 1\u00e9", {});
}

}  // namespace cria::fuzz
