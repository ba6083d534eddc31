#include "model/tuning.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "base/platform.h"
#include "kernels/read_bandwidth.h"

namespace cria::model {
namespace {

using Json = nlohmann::json;
using detail::Trial;
using kernels::MatMulCut;
using kernels::MatVecCut;

constexpr int kFileVersion = 6;
constexpr double kSampleSeconds = 2e-3;
constexpr int kSamples = 5;
constexpr int kMostSamples = 20;
constexpr std::chrono::milliseconds kWarmUp{100};
/// A cut must be this much faster than the default to be chosen: less is chance.
constexpr double kGain = 0.98;

uint32_t number(const Json& json, const char* name) {
  const auto field = json.find(name);
  return field != json.end() && field->is_number_unsigned() ? field->get<uint32_t>() : 0;
}

Json to_json(const MatVecCut& cut) {
  return {{"workgroup_size", cut.workgroup_size},
          {"rows", cut.rows},
          {"split", cut.split},
          {"depth", cut.depth},
          {"lanes", cut.lanes},
          {"workgroups", cut.workgroups}};
}
void read_cut(const Json& json, MatVecCut& cut) {
  cut = {.workgroup_size = number(json, "workgroup_size"),
         .rows = number(json, "rows"),
         .split = number(json, "split"),
         .depth = number(json, "depth"),
         .lanes = number(json, "lanes"),
         .workgroups = number(json, "workgroups")};
}
std::string describe(const MatVecCut& cut) {
  if (cut.lanes > 0) {
    return fmt::format("{} rows by {} lanes that keep x, {} workgroups of {}", cut.rows, cut.lanes,
                       cut.workgroups == 0 ? "any number of" : fmt::format("at most {}", cut.workgroups),
                       cut.workgroup_size);
  }
  if (cut.split == 0) return fmt::format("{} rows by each lane, workgroups of {}", cut.rows, cut.workgroup_size);
  return fmt::format("{} rows by {} teams, {} deep, workgroups of {}", cut.rows, cut.split, cut.depth,
                     cut.workgroup_size);
}

Json to_json(const MatMulCut& cut) {
  return {{"m", cut.shape.m},           {"n", cut.shape.n},
          {"k", cut.shape.k},           {"tile_tokens", cut.tile_tokens},
          {"tile_rows", cut.tile_rows}, {"sub_tokens", cut.sub_tokens},
          {"sub_rows", cut.sub_rows},   {"depth", cut.depth},
          {"buffers", cut.buffers},     {"splits", cut.splits},
          {"slices", cut.slices},       {"ahead", cut.ahead}};
}
void read_cut(const Json& json, MatMulCut& cut) {
  cut = {.shape = {.m = number(json, "m"), .n = number(json, "n"), .k = number(json, "k")},
         .tile_tokens = number(json, "tile_tokens"),
         .tile_rows = number(json, "tile_rows"),
         .sub_tokens = number(json, "sub_tokens"),
         .sub_rows = number(json, "sub_rows"),
         .depth = number(json, "depth"),
         .buffers = number(json, "buffers"),
         .splits = number(json, "splits"),
         .slices = number(json, "slices"),
         .ahead = number(json, "ahead")};
}
std::string describe(const MatMulCut& cut) { return cut.name(); }

/// The file's content; an empty object where there is none of this version.
Json read_file(const std::filesystem::path& path) {
  std::ifstream stream(path);
  Json file = Json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (!file.is_object() || file.value("version", Json()) != kFileVersion || !file["devices"].is_object()) {
    return {{"version", kFileVersion}, {"devices", Json::object()}};
  }
  return file;
}

/// Seconds of the GPU for what is recorded: its own where it has timestamps.
Result<double> seconds_of(gpu::Device& device, const std::function<void(gpu::Recorder&)>& record) {
  gpu::Recorder recorder = device.record("kernel measurement", gpu::Timing::kWhole);
  record(recorder);
  const auto start = Clock::now();
  CRIA_TRY(recorder.submit());
  CRIA_TRY(device.wait_idle());
  const double seconds = seconds_since(start);
  CRIA_TRY_ASSIGN(const gpu::SubmissionTimes times, recorder.times());
  return times.total_nanoseconds > 0 ? static_cast<double>(times.total_nanoseconds) * 1e-9 : seconds;
}

}  // namespace

/// Tells whether the GPU's clocks are as high as they were at best, by how fast it reads a buffer. GPUs lower them
/// while kernels are compiled, and some take longer than a warm-up to raise them again.
class detail::ClockGauge {
 public:
  /// Warms the GPU up, too.
  static Result<std::shared_ptr<ClockGauge>> create(gpu::Device& device) {
    auto gauge = std::make_shared<ClockGauge>(device);
    if (device.info().is_software()) return gauge;
    const uint64_t bytes = std::min(kBytes, device.limits().max_binding_bytes / 256 * 256);
    CRIA_TRY_ASSIGN(gauge->kernel_, kernels::ReadBandwidth::create(device));
    CRIA_TRY_ASSIGN(gauge->buffer_, device.create_buffer("clock gauge", bytes, gpu::MemoryKind::kScratch));
    CRIA_TRY_ASSIGN(gauge->sums_,
                    device.create_buffer("clock gauge", kernels::ReadBandwidth::invocations(kWorkgroups) * 4ULL,
                                         gpu::MemoryKind::kScratch));
    for (const auto start = Clock::now(); Clock::now() - start < kFirstWarmUp;) CRIA_TRY(gauge->is_up());
    return gauge;
  }

  explicit ClockGauge(gpu::Device& device) : device_(device) {}

  /// A CPU's clocks are not looked at.
  Result<bool> is_up() {
    if (device_.info().is_software()) return true;
    CRIA_TRY_ASSIGN(const double seconds, seconds_of(device_, [&](gpu::Recorder& recorder) {
                      for (uint32_t read = 0; read < kReads; ++read) {
                        kernel_.record(recorder, buffer_, sums_, kWorkgroups);
                      }
                    }));
    best_ = std::min(best_, seconds);
    return seconds < best_ * kSameClocks;
  }

 private:
  static constexpr uint64_t kBytes = 64ULL << 20;  // more than caches hold
  static constexpr uint32_t kWorkgroups = 2048;
  static constexpr uint32_t kReads = 20;
  static constexpr std::chrono::milliseconds kFirstWarmUp{500};
  static constexpr double kSameClocks = 1.1;

  gpu::Device& device_;
  kernels::ReadBandwidth kernel_;
  gpu::Buffer buffer_, sums_;
  double best_ = std::numeric_limits<double>::infinity();
};

namespace {

/// Seconds of one product.
Result<double> seconds_of_product(gpu::Device& device, const Trial& trial, size_t candidate, uint32_t rounds) {
  CRIA_TRY_ASSIGN(const double seconds, seconds_of(device, [&](gpu::Recorder& recorder) {
                    for (uint32_t round = 0; round < rounds; ++round) {
                      for (const kernels::Matrix* matrix : trial.matrices) trial.record(recorder, candidate, *matrix);
                    }
                  }));
  return seconds / static_cast<double>(rounds * trial.matrices.size());
}

/// Rounds over the matrices that take long enough to be measured. Runs for kWarmUp, so that clocks are up.
Result<uint32_t> warm_up(gpu::Device& device, const Trial& trial) {
  double rounds = 1;
  for (const auto start = Clock::now(); Clock::now() - start < kWarmUp;) {
    CRIA_TRY_ASSIGN(const double seconds, seconds_of_product(device, trial, 0, static_cast<uint32_t>(rounds)));
    rounds = std::clamp(kSampleSeconds / (seconds * static_cast<double>(trial.matrices.size())), 1.0, 1000.0);
  }
  return static_cast<uint32_t>(rounds);
}

/// The fastest candidate of a trial; the first, which is the default, unless another is clearly faster. Samples at
/// lower clocks are forgotten as soon as there is one at the highest.
Result<size_t> fastest(gpu::Device& device, detail::ClockGauge& gauge, const Trial& trial) {
  CRIA_TRY_ASSIGN(const uint32_t rounds, warm_up(device, trial));
  const std::vector<double> nothing(trial.candidates.size(), std::numeric_limits<double>::infinity());
  std::vector<double> best = nothing;
  int good_samples = 0;
  CRIA_TRY_ASSIGN(bool was_up, gauge.is_up());
  for (int tries = 0; tries < kMostSamples && good_samples < kSamples; ++tries) {
    std::vector<double> seconds(best.size());
    for (size_t i = 0; i < seconds.size(); ++i) {
      CRIA_TRY_ASSIGN(seconds[i], seconds_of_product(device, trial, i, rounds));
    }
    CRIA_TRY_ASSIGN(const bool is_up, gauge.is_up());
    const bool is_good = std::exchange(was_up, is_up) && is_up;
    if (is_good && good_samples++ == 0) best = nothing;
    if (!is_good && good_samples > 0) continue;
    for (size_t i = 0; i < best.size(); ++i) best[i] = std::min(best[i], seconds[i]);
  }
  for (size_t i = 0; i < best.size(); ++i) {
    log::debug("{}: {:.2f} us with {}", trial.name, best[i] * 1e6, trial.candidates[i]);
  }
  if (good_samples == 0) log::debug("{}: never at the GPU's highest clocks", trial.name);
  const auto chosen = static_cast<size_t>(std::ranges::min_element(best) - best.begin());
  return best[chosen] < kGain * best[0] ? chosen : 0;
}

/// Operands that are long enough for any of the kernels: f32 x and y of so many tokens, a norm's weight, and a cache of
/// one page.
struct Operands {
  kernels::Activation x, y;
  gpu::Buffer norm;
  gpu::Buffer cos_sin;
  kernels::BatchBuffers batch;
  kernels::KvLayer layer;
};

Result<Operands> make_operands(gpu::Device& device, uint32_t columns, uint32_t rows, uint32_t tokens) {
  Operands operands;
  operands.x.columns = columns;
  operands.y.columns = rows;
  const auto words = [&](uint64_t count) {
    return device.create_buffer("kernel measurement", count * 4, gpu::MemoryKind::kScratch);
  };
  CRIA_TRY_ASSIGN(operands.x.buffer, words(uint64_t{tokens} * operands.x.stride()));
  CRIA_TRY_ASSIGN(operands.y.buffer, words(uint64_t{tokens} * operands.y.stride()));
  CRIA_TRY_ASSIGN(operands.norm, words(operands.x.stride()));
  return operands;
}

/// Adds what kRopeKv reads and writes: position 0 of slot 0, in page 0.
Status add_cache(gpu::Device& device, const kernels::StepHeads& heads, Operands& operands) {
  const auto scratch = [&](uint64_t bytes) {
    return device.create_buffer("kernel measurement", bytes, gpu::MemoryKind::kScratch);
  };
  const uint64_t page_bytes =
      uint64_t{heads.kv_heads} * kernels::kPageSize * kernels::kv_row_bytes(heads.cache, heads.head_dim);
  CRIA_TRY_ASSIGN(operands.cos_sin, scratch(uint64_t{heads.head_dim} * 4));
  CRIA_TRY_ASSIGN(operands.batch.token_info, scratch(8));
  CRIA_TRY_ASSIGN(operands.batch.page_table, scratch(4));
  CRIA_TRY_ASSIGN(operands.layer.keys, scratch(page_bytes));
  CRIA_TRY_ASSIGN(operands.layer.values, scratch(page_bytes));
  operands.batch.pages_per_slot = 1;
  return {};
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
    if (json.is_object()) known_.emplace(name, json.dump());
  }
}

template <typename Cut>
Result<Cut> Tuner::choose(const std::string& name, const std::vector<Cut>& cuts,
                          const std::function<bool(const Cut&)>& is_valid,
                          const std::function<Result<Trial>(const std::vector<Cut>&)>& make_trial) {
  const bool is_off =
      options_.mode == TuningMode::kOff || (options_.mode == TuningMode::kOn && device_.info().is_software());
  if (is_off || cuts.size() < 2) return cuts.front();
  if (const auto known = known_.find(name); known != known_.end()) {
    Cut cut;
    read_cut(Json::parse(known->second), cut);
    if (is_valid(cut)) return cut;
  }
  if (!changed_) log::info("measuring the kernels' variants on {}; the next start will know", device_.info().name);
  const auto prepare = [&]() -> Result<Trial> {
    if (!gauge_) {
      CRIA_TRY_ASSIGN(gauge_, detail::ClockGauge::create(device_));
    }
    return make_trial(cuts);
  };
  auto made = prepare();
  if (!made && made.error().code() == ErrorCode::kOutOfMemory) return cuts.front();  // no room to measure: not kept
  if (!made) return std::unexpected(std::move(made).error());
  Trial& trial = *made;
  trial.name = name;
  for (const Cut& cut : cuts) trial.candidates.push_back(describe(cut));
  CRIA_TRY_ASSIGN(const size_t best, fastest(device_, *gauge_, trial));
  known_[name] = to_json(cuts[best]).dump();
  changed_ = true;
  return cuts[best];
}

Result<MatVecCut> Tuner::choose(const kernels::MatVecSpec& spec, std::span<const kernels::Matrix* const> matrices) {
  const auto make_trial = [&](const std::vector<MatVecCut>& cuts) -> Result<Trial> {
    CRIA_TRY_ASSIGN(Operands operands, make_operands(device_, spec.columns, matrices.front()->rows, 1));
    const bool turns = spec.output == kernels::MatVecOutput::kRopeKv;
    if (turns) CRIA_TRY(add_cache(device_, spec.heads, operands));
    std::vector<kernels::MatVec> ops;  // all built before any is measured: an idle GPU slows its clocks down
    for (const MatVecCut& cut : cuts) {
      CRIA_TRY_ASSIGN(kernels::MatVec op, kernels::MatVec::create(device_, spec, 1, cut));
      ops.push_back(std::move(op));
    }
    return Trial{.name = {},
                 .candidates = {},
                 .matrices = matrices,
                 .record = [ops = std::move(ops), operands = std::move(operands), has_norm = spec.has_norm, turns](
                               gpu::Recorder& recorder, size_t candidate, const kernels::Matrix& matrix) {
                   std::optional<kernels::NormOperand> norm;
                   if (has_norm) norm.emplace(operands.norm, 1e-5F);
                   std::optional<kernels::RopeKvOperand> rope;
                   if (turns) rope.emplace(operands.cos_sin, operands.batch, operands.layer);
                   ops[candidate].record(recorder, matrix, operands.x, norm, operands.y, 1, rope);
                 }};
  };
  return choose<MatVecCut>(
      spec.name(), kernels::candidate_cuts(device_, spec),
      [&](const MatVecCut& cut) { return kernels::is_valid_cut(device_, spec, cut); }, make_trial);
}

Result<MatVecCut> Tuner::choose_few(const kernels::MatVecSpec& spec, std::span<const kernels::Matrix* const> matrices) {
  static constexpr uint32_t kTokens = kernels::MatVecFew::kMaxTokens;
  const auto make_trial = [&](const std::vector<MatVecCut>& cuts) -> Result<Trial> {
    CRIA_TRY_ASSIGN(Operands operands, make_operands(device_, spec.columns, matrices.front()->rows, kTokens));
    CRIA_TRY_ASSIGN(auto x, kernels::BlockActivation::create(device_, "kernel measurement", spec.columns, kTokens));
    std::vector<kernels::MatVecFew> ops;
    for (const MatVecCut& cut : cuts) {
      CRIA_TRY_ASSIGN(kernels::MatVecFew op, kernels::MatVecFew::create(device_, spec, kTokens, cut));
      ops.push_back(std::move(op));
    }
    return Trial{.name = {},
                 .candidates = {},
                 .matrices = matrices,
                 .record = [ops = std::move(ops), x = std::move(x), y = std::move(operands.y)](
                               gpu::Recorder& recorder, size_t candidate, const kernels::Matrix& matrix) {
                   ops[candidate].record(recorder, matrix, x, y, kTokens);
                 }};
  };
  return choose<MatVecCut>(
      fmt::format("{} tokens: {}", kTokens, spec.name()), kernels::MatVecFew::candidate_cuts(device_, spec),
      [&](const MatVecCut& cut) { return kernels::MatVecFew::is_valid_cut(device_, spec, cut); }, make_trial);
}

Result<MatMulCut> Tuner::choose(const kernels::MatMulSpec& spec, std::span<const kernels::Matrix* const> matrices) {
  const auto make_trial = [&](const std::vector<MatMulCut>& cuts) -> Result<Trial> {
    CRIA_TRY_ASSIGN(Operands operands, make_operands(device_, spec.columns, matrices.front()->rows, spec.tokens));
    std::vector<kernels::MatrixMatMul> ops;
    uint64_t parts_size = 0;
    for (const MatMulCut& cut : cuts) {
      CRIA_TRY_ASSIGN(kernels::MatrixMatMul op, kernels::MatrixMatMul::create(device_, spec, cut));
      parts_size = std::max(parts_size, op.parts_size());
      ops.push_back(std::move(op));
    }
    gpu::Buffer parts;
    if (parts_size > 0) {
      CRIA_TRY_ASSIGN(parts, device_.create_buffer("parts of products", parts_size * 4, gpu::MemoryKind::kScratch));
    }
    operands.x = operands.x.half();
    operands.y.is_half = spec.output == kernels::MatVecOutput::kSwiGlu;
    return Trial{
        .name = {},
        .candidates = {},
        .matrices = matrices,
        .record = [ops = std::move(ops), operands = std::move(operands), parts = std::move(parts),
                   tokens = spec.tokens](gpu::Recorder& recorder, size_t candidate, const kernels::Matrix& matrix) {
          ops[candidate].record(recorder, matrix, operands.x, operands.y, tokens, parts);
        }};
  };
  return choose<MatMulCut>(
      spec.name(), kernels::MatrixMatMul::candidate_cuts(device_.info(), spec),
      [&](const MatMulCut& cut) { return kernels::MatrixMatMul::is_valid_cut(device_.info(), spec, cut); }, make_trial);
}

void Tuner::save() {
  if (!changed_ || options_.file.empty()) return;
  Json file = read_file(options_.file);  // other devices' choices stay
  for (const auto& [name, cut] : known_) file["devices"][key_][name] = Json::parse(cut);
  const std::string text = file.dump(2) + "\n";
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  std::error_code error;
  std::filesystem::create_directories(options_.file.parent_path(), error);
  if (const Status written = platform::write_file_atomically(options_.file, {{bytes}}); !written) {
    log::warning("what was measured cannot be kept: {}", written.error().message());
  }
}

}  // namespace cria::model
