#include "model/tuning.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/platform.h"

namespace cria::model {
namespace {

using Json = nlohmann::json;
using kernels::MatVecCut;
using Clock = std::chrono::steady_clock;

constexpr int kFileVersion = 1;
constexpr double kSampleSeconds = 2e-3;
constexpr int kSamples = 5;
constexpr std::chrono::milliseconds kWarmUp{100};
/// A cut must be this much faster than the default to be chosen: less is chance.
constexpr double kGain = 0.98;

Json to_json(const MatVecCut& cut) {
  return {{"workgroup_size", cut.workgroup_size}, {"rows", cut.rows}, {"split", cut.split}, {"depth", cut.depth}};
}

std::optional<MatVecCut> cut_from(const Json& json) {
  const auto number = [&](const char* name) -> uint32_t {
    const auto field = json.find(name);
    return field != json.end() && field->is_number_unsigned() ? field->get<uint32_t>() : 0;
  };
  if (!json.is_object()) return {};
  return MatVecCut{.workgroup_size = number("workgroup_size"),
                   .rows = number("rows"),
                   .split = number("split"),
                   .depth = number("depth")};
}

/// The file's content; an empty object where there is none of this version.
Json read_file(const std::filesystem::path& path) {
  std::ifstream stream(path);
  Json file = Json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (!file.is_object() || file.value("version", Json()) != kFileVersion || !file["devices"].is_object()) {
    return {{"version", kFileVersion}, {"devices", Json::object()}};
  }
  return file;
}

/// A product with everything it needs, to be run on one matrix after the other.
struct Trial {
  kernels::Activation x, y;
  gpu::Buffer norm;
  std::span<const kernels::Matrix* const> matrices;

  void record(gpu::Recorder& recorder, const kernels::MatVec& op, bool has_norm, uint32_t rounds) const {
    std::optional<kernels::NormOperand> operand;
    if (has_norm) operand.emplace(norm, 1e-5F);
    for (uint32_t round = 0; round < rounds; ++round) {
      for (const kernels::Matrix* matrix : matrices) op.record(recorder, *matrix, x, operand, y, 1);
    }
  }
};

Result<Trial> make_trial(gpu::Device& device, const kernels::MatVecSpec& spec,
                         std::span<const kernels::Matrix* const> matrices) {
  Trial trial{.x = {.buffer = {}, .columns = spec.columns},
              .y = {.buffer = {}, .columns = matrices.front()->rows},
              .norm = {},
              .matrices = matrices};
  const auto words = [&](uint64_t count) {
    return device.create_buffer("kernel measurement", count * 4, gpu::MemoryKind::kScratch);
  };
  CRIA_TRY_ASSIGN(trial.x.buffer, words(trial.x.stride()));
  CRIA_TRY_ASSIGN(trial.y.buffer, words(trial.y.stride()));
  CRIA_TRY_ASSIGN(trial.norm, words(trial.x.stride()));
  return trial;
}

/// Seconds of one product: the GPU's own where it has timestamps.
Result<double> seconds_of(gpu::Device& device, const Trial& trial, const kernels::MatVec& op, bool has_norm,
                          uint32_t rounds) {
  gpu::Recorder recorder = device.record("kernel measurement", gpu::Timing::kWhole);
  trial.record(recorder, op, has_norm, rounds);
  const auto start = Clock::now();
  CRIA_TRY(recorder.submit());
  CRIA_TRY(device.wait_idle());
  double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  CRIA_TRY_ASSIGN(const gpu::SubmissionTimes times, recorder.times());
  if (times.total_nanoseconds > 0) seconds = static_cast<double>(times.total_nanoseconds) * 1e-9;
  return seconds / static_cast<double>(rounds * trial.matrices.size());
}

/// Rounds over the matrices that take long enough to be measured. Runs for kWarmUpSeconds, so that clocks are up.
Result<uint32_t> warm_up(gpu::Device& device, const Trial& trial, const kernels::MatVec& op, bool has_norm) {
  double rounds = 1;
  for (const auto start = Clock::now(); Clock::now() - start < kWarmUp;) {
    CRIA_TRY_ASSIGN(const double seconds, seconds_of(device, trial, op, has_norm, static_cast<uint32_t>(rounds)));
    rounds = std::clamp(kSampleSeconds / (seconds * static_cast<double>(trial.matrices.size())), 1.0, 1000.0);
  }
  return static_cast<uint32_t>(rounds);
}

}  // namespace

Result<TuningMode> parse_tuning_mode(std::string_view text) {
  if (text == "off") return TuningMode::kOff;
  if (text == "on") return TuningMode::kOn;
  if (text == "renew") return TuningMode::kRenew;
  return fail(ErrorCode::kInvalidInput, "there is no tuning \"{}\": it is off, on or renew", text);
}

Tuner::Tuner(gpu::Device& device, TuningOptions options) : device_(device), options_(std::move(options)) {
  const gpu::DeviceInfo& info = device.info();
  key_ = fmt::format("{}, {}, {}{}{}", info.name, info.driver, info.backend, info.features.f16 ? ", f16" : "",
                     info.features.subgroups ? ", subgroups" : "");
  if (options_.mode != TuningMode::kOn || options_.file.empty()) return;
  const Json file = read_file(options_.file);
  const auto device_choices = file["devices"].find(key_);
  if (device_choices == file["devices"].end() || !device_choices->is_object()) return;
  for (const auto& [name, json] : device_choices->items()) {
    if (const auto cut = cut_from(json)) known_.emplace(name, *cut);
  }
}

Result<MatVecCut> Tuner::choose(const kernels::MatVecSpec& spec, std::span<const kernels::Matrix* const> matrices) {
  if (options_.mode == TuningMode::kOff || (options_.mode == TuningMode::kOn && device_.info().is_software()))
    return kernels::default_cut(device_, spec);
  const auto known = known_.find(spec.name());
  if (known != known_.end() && kernels::is_valid_cut(device_, spec, known->second)) return known->second;
  if (!changed_) log::info("measuring the kernels' variants on {}; the next start will know", device_.info().name);
  CRIA_TRY_ASSIGN(const MatVecCut cut, measure(spec, matrices));
  known_[spec.name()] = cut;
  changed_ = true;
  return cut;
}

Result<MatVecCut> Tuner::measure(const kernels::MatVecSpec& spec, std::span<const kernels::Matrix* const> matrices) {
  CRIA_TRY_ASSIGN(const Trial trial, make_trial(device_, spec, matrices));
  struct Variant {
    MatVecCut cut;
    kernels::MatVec op;
    double seconds = std::numeric_limits<double>::infinity();
  };
  std::vector<Variant> variants;  // all built before any is measured: an idle GPU slows its clocks down
  for (const MatVecCut& cut : kernels::candidate_cuts(device_, spec)) {
    CRIA_TRY_ASSIGN(kernels::MatVec op, kernels::MatVec::create(device_, spec, 1, cut));
    variants.push_back({.cut = cut, .op = std::move(op)});
  }
  CRIA_TRY_ASSIGN(const uint32_t rounds, warm_up(device_, trial, variants.front().op, spec.has_norm));
  for (int sample = 0; sample < kSamples; ++sample) {
    for (Variant& variant : variants) {
      CRIA_TRY_ASSIGN(const double seconds, seconds_of(device_, trial, variant.op, spec.has_norm, rounds));
      variant.seconds = std::min(variant.seconds, seconds);
    }
  }
  for (const auto& [cut, op, seconds] : variants) {
    log::debug("{}: {:.2f} us with {} rows by {} teams, {} deep, workgroups of {}", spec.name(), seconds * 1e6,
               cut.rows, cut.split, cut.depth, cut.workgroup_size);
  }
  const Variant& best = *std::ranges::min_element(variants, {}, &Variant::seconds);
  return best.seconds < kGain * variants.front().seconds ? best.cut : variants.front().cut;
}

void Tuner::save() {
  if (!changed_ || options_.file.empty()) return;
  Json file = read_file(options_.file);  // other devices' choices stay
  for (const auto& [name, cut] : known_) file["devices"][key_][name] = to_json(cut);
  const std::string text = file.dump(2) + "\n";
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  std::error_code error;
  std::filesystem::create_directories(options_.file.parent_path(), error);
  if (const Status written = platform::write_file_atomically(options_.file, {{bytes}}); !written) {
    log::warning("what was measured cannot be kept: {}", written.error().message());
  }
}

}  // namespace cria::model
