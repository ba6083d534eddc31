#include "engine/quantize.h"

#include <algorithm>

#include "base/progress.h"
#include "engine/calibration.h"
#include "engine/engine.h"
#include "engine/quantize_describe.h"
#include "formats/block_tensors.h"
#include "model/convert.h"
#include "model/gguf_export.h"
#include "model/gguf_names.h"

namespace cria::engine {
namespace {

namespace fs = std::filesystem;
using formats::TensorView;
using model::ConvertedTensor;

/// Converts and writes a tensor, compensated where there is a calibration.
Status write_tensor(const ConvertedTensor& tensor, uint32_t paired_rows, Calibration* calibration,
                    const platform::WriteBytes& write, ProgressBar& bar) {
  const quant::SecondMoments* inputs = nullptr;
  if (calibration != nullptr) {
    CRIA_TRY_ASSIGN(inputs, calibration->inputs_of(tensor.name));
  }
  std::vector<std::byte> written;
  const auto write_and_keep = [&](std::span<const std::byte> bytes) -> Status {
    written.insert(written.end(), bytes.begin(), bytes.end());
    return write(bytes);
  };
  CRIA_TRY(model::write_converted(tensor, paired_rows, inputs,
                                  inputs != nullptr ? platform::WriteBytes(write_and_keep) : write));
  if (inputs != nullptr) CRIA_TRY(calibration->take(tensor, std::move(written)));
  bar.advance(tensor.source->data.size());
  return {};
}

/// Refuses an output that is one of the input's files, through whatever links.
Status check_output(const OpenedModel& opened, const fs::path& output) {
  std::error_code ignored;
  const auto is_same = [&](const fs::path& file) { return fs::equivalent(file, output, ignored); };
  bool same = is_same(opened.files.path());
  for (const std::string& name : opened.files.checkpoint().names()) {
    same = same || is_same(opened.files.checkpoint().find(name)->file->path());
  }
  if (same) {
    return fail(ErrorCode::kInvalidInput, "{}: is what is being read; name another output", output.string());
  }
  if (fs::is_directory(output, ignored) || (output.extension() != ".gguf" && fs::exists(output, ignored))) {
    return fail(ErrorCode::kInvalidInput, "{}: exists already; name a new folder, or a file that ends in .gguf",
                output.string());
  }
  return {};
}

Status write_gguf(const OpenedModel& opened, const std::vector<ConvertedTensor>& tensors, const fs::path& output,
                  model::Precision precision, Calibration* calibration, ProgressBar& bar) {
  formats::GgufWriter writer;
  CRIA_TRY(describe_model(opened, precision, writer));
  const std::vector<float> divisors = model::gguf_rope_divisors(opened.config);
  if (!divisors.empty()) {
    const uint64_t size = divisors.size();
    CRIA_TRY(writer.add_tensor(model::kRopeFactorsName, formats::DType::kF32, {&size, 1}));
  }
  for (const ConvertedTensor& tensor : tensors) {
    CRIA_TRY(writer.add_tensor(model::gguf_name(tensor.name).value_or(tensor.name), tensor.dtype, tensor.shape));
  }
  return platform::write_file_in_pieces(output, [&](const platform::WriteBytes& write) -> Status {
    const auto pad = [&](uint64_t bytes) {
      const std::string zeros = formats::GgufWriter::padding(bytes);
      return write(std::as_bytes(std::span(zeros)));
    };
    const std::string header = writer.header();
    CRIA_TRY(write(std::as_bytes(std::span(header))));
    CRIA_TRY(write(std::as_bytes(std::span(divisors))));
    CRIA_TRY(pad(divisors.size() * sizeof(float)));
    for (const ConvertedTensor& tensor : tensors) {
      CRIA_TRY(write_tensor(tensor, model::gguf_paired_rows(opened.config, tensor.name), calibration, write, bar));
      CRIA_TRY(pad(tensor.bytes()));
    }
    return {};
  });
}

/// Writes model.safetensors: matrices of blocks as formats/block_tensors.h has them.
Status write_weights(const std::vector<ConvertedTensor>& tensors, const fs::path& file, Calibration* calibration,
                     ProgressBar& bar) {
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  std::map<std::string_view, const ConvertedTensor*> by_name;
  std::vector<TensorView> views;
  for (const ConvertedTensor& tensor : tensors) {
    by_name[tensor.name] = &tensor;
    TensorView view;
    view.name = tensor.name;
    view.dtype = tensor.dtype;
    view.shape = tensor.shape;
    if (formats::dtype_block(tensor.dtype) > 1) {
      metadata[std::string(formats::kBlockTypeKey) + tensor.name] = formats::dtype_name(tensor.dtype);
      view.dtype = formats::DType::kU8;
      view.shape[1] = tensor.bytes() / tensor.shape[0];
    }
    views.push_back(std::move(view));
  }
  return formats::write_safetensors(file, views, metadata,
                                    [&](const TensorView& view, const platform::WriteBytes& write) {
                                      return write_tensor(*by_name.at(view.name), 0, calibration, write, bar);
                                    });
}

/// Deletes a folder at the end of the scope unless told to keep it.
class DoomedFolder {
 public:
  explicit DoomedFolder(fs::path path) : path_(std::move(path)) {}
  ~DoomedFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  DoomedFolder(const DoomedFolder&) = delete;
  DoomedFolder& operator=(const DoomedFolder&) = delete;
  void keep() { path_.clear(); }

 private:
  fs::path path_;
};

Status write_folder(const OpenedModel& opened, const std::vector<ConvertedTensor>& tensors, const fs::path& output,
                    Calibration* calibration, ProgressBar& bar) {
  CRIA_TRY_ASSIGN(const auto texts, folder_texts(opened));
  const fs::path named = output.has_filename() ? output : output.parent_path();
  fs::path temporary;
  std::error_code error;
  for (int attempt = 0; attempt < 1000; ++attempt) {  // the first name that nobody has
    temporary = named.parent_path() / fmt::format(".{}.{}.tmp", named.filename().string(), attempt);
    if (fs::create_directory(temporary, error) || error) break;
  }
  if (error) return fail(ErrorCode::kIo, "{}: cannot be created: {}", output.string(), error.message());
  DoomedFolder doomed(temporary);
  for (const auto& [name, text] : texts) {
    CRIA_TRY(platform::write_file_atomically(temporary / name, {{std::as_bytes(std::span(text))}}));
  }
  CRIA_TRY(write_weights(tensors, temporary / "model.safetensors", calibration, bar));
  fs::rename(temporary, named, error);
  if (error) return fail(ErrorCode::kIo, "{}: cannot be created: {}", output.string(), error.message());
  doomed.keep();
  platform::flush_folder(named.parent_path());
  return {};
}

}  // namespace

Result<QuantizeReport> quantize(const fs::path& input, const fs::path& output, const QuantizeOptions& options) {
  CRIA_TRY_ASSIGN(const OpenedModel opened, open_model(input));
  CRIA_TRY(check_output(opened, output));
  model::WeightTable table = model::weight_table(opened.config);
  for (model::LayerSpec& layer : table.layers) layer.o.keeps_precision = options.keeps_attention_output;
  const std::vector<ConvertedTensor> tensors =
      model::converted_tensors(table, opened.files.checkpoint(), options.precision);
  std::optional<Calibration> calibration;
  if (!options.calibration_text.empty()) {
    if (options.precision != model::Precision::kInt4) {
      return fail(ErrorCode::kInvalidInput, "a calibration text is for int4, not for {}",
                  model::precision_name(options.precision));
    }
    CRIA_TRY_ASSIGN(calibration, Calibration::create(opened, tensors, options.calibration_text, options.device));
  }
  Calibration* inputs = calibration ? &*calibration : nullptr;
  QuantizeReport report;
  for (const ConvertedTensor& tensor : tensors) {
    report.input_bytes += tensor.source->data.size();
    report.output_bytes += tensor.bytes();
  }
  ProgressBar bar("quantising", report.input_bytes, options.show_progress);
  const bool is_file = output.extension() == ".gguf";
  Status status = is_file ? write_gguf(opened, tensors, output, options.precision, inputs, bar)
                          : write_folder(opened, tensors, output, inputs, bar);
  if (!status)
    return std::unexpected(std::move(status).error().while_doing(fmt::format("writing {}", output.string())));
  return report;
}

}  // namespace cria::engine
