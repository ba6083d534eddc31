// `cria quantize`: a model's files in another type, as a folder or a GGUF file.
#include "engine/quantize.h"
#include "base/log.h"
#include "base/platform.h"
#include "cli/command.h"
#include "cli/streams.h"

namespace cria::cli {
namespace {

struct QuantizeFlags {
  std::string input;
  std::string output;
  std::string weights = "int8";
  std::string calibration;
  bool keep_attention_output = false;
  DeviceFlags device;
};

Status run(const QuantizeFlags& flags) {
  engine::QuantizeOptions options;
  CRIA_TRY_ASSIGN(options.precision, model::parse_precision(flags.weights));
  CRIA_TRY_ASSIGN(options.device, flags.device.options());
  if (!flags.calibration.empty()) {
    CRIA_TRY_ASSIGN(options.calibration_text, read_text_file(flags.calibration));
    if (options.calibration_text.empty()) {
      return fail(ErrorCode::kInvalidInput, "{}: the calibration text is empty", flags.calibration);
    }
  }
  options.keeps_attention_output = flags.keep_attention_output;
  options.show_progress = platform::stderr_is_terminal();
  platform::catch_interrupts();
  CRIA_TRY_ASSIGN(const engine::QuantizeReport report, engine::quantize(flags.input, flags.output, options));
  log::info("{}: {} of tensors, from {}", flags.output, human_bytes(report.output_bytes),
            human_bytes(report.input_bytes));
  return {};
}

}  // namespace

void add_quantize(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("quantize", "Write a model's files in another type, as a folder or a GGUF file");
  auto flags = std::make_shared<QuantizeFlags>();
  command->add_option("IN", flags->input, "Model folder or GGUF file to read")->required();
  command->add_option("OUT", flags->output, "GGUF file (a name that ends in .gguf) or new folder to write")->required();
  command
      ->add_option("--weights", flags->weights,
                   "Type of matrices in the output: auto (as stored), f32, f16, bf16, int8, int4, q4_k, q5_k, q6_k")
      ->capture_default_str()
      ->type_name("TYPE");
  command
      ->add_option("--calibration", flags->calibration,
                   "Text to run the model over, so that int4 changes its products least")
      ->type_name("FILE");
  command->add_flag("--keep-attention-output", flags->keep_attention_output,
                    "Keep attention's output matrices at 6 bits at least, as queries, keys and values");
  flags->device.add_to(*command);
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
