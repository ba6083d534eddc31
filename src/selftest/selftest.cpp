#include "selftest/selftest.h"

#include <algorithm>
#include <limits>

#include "base/clock.h"
#include "selftest/cases.h"

namespace cria::selftest {

Status Trial::submit(gpu::Recorder& recorder) const {
  const std::string ran(recorder.last_kernel());
  CRIA_TRY(recorder.submit());
  if (ran != kernel) return fail(ErrorCode::kDevice, "the kernel {} ran where {} was to be tested", ran, kernel);
  return {};
}

Result<CaseOutcome> Case::run(gpu::Device& device) const {
  Trial trial{.device = device, .kernel = kernel, .random = Random(fmt::format("{} {}", kernel, shape))};
  return body(trial);
}

std::vector<Case> all_cases(const gpu::Device& device) {
  std::vector<Case> cases;
  for (const auto add :
       {add_attention_cases, add_attention_step_cases, add_bench_cases, add_elementwise_cases, add_embedding_cases,
        add_matmul_cases, add_matmul_matrix_cases, add_matvec_cases, add_matvec_few_cases, add_matvec_rope_cases,
        add_norm_cases, add_quantize_cases, add_sampler_cases}) {
    add(device, cases);
  }
  const uint64_t limit = device.limits().max_binding_bytes;
  std::erase_if(cases, [&](const Case& one) { return one.binding_bytes + kTailWords * 4 > limit; });
  std::stable_sort(cases.begin(), cases.end(), [](const Case& a, const Case& b) { return a.kernel < b.kernel; });
  return cases;
}

std::set<std::string> kernels_of(std::span<const Case> cases) {
  std::set<std::string> kernels;
  for (const Case& one : cases) kernels.insert(one.kernel);
  return kernels;
}

namespace {

void count(KernelReport& report, const Case& one, const Result<CaseOutcome>& outcome) {
  ++report.shapes;
  report.worst = std::max(report.worst, outcome ? outcome->worst : std::numeric_limits<double>::infinity());
  if (outcome && outcome->ok()) return;
  ++report.failed;
  if (!report.failure.empty()) return;
  report.failure = fmt::format("{}: {}", one.shape, outcome ? outcome->failure : outcome.error().message());
}

}  // namespace

void run_cases(gpu::Device& device, std::span<const Case> cases,
               const std::function<void(const KernelReport&)>& report) {
  while (!cases.empty()) {
    const auto start = Clock::now();
    KernelReport kernel{.kernel = cases.front().kernel, .failure = {}};
    for (; !cases.empty() && cases.front().kernel == kernel.kernel; cases = cases.subspan(1)) {
      count(kernel, cases.front(), cases.front().run(device));
    }
    kernel.seconds = seconds_since(start);
    report(kernel);
  }
}

Table random_table(Random& random, size_t rows, size_t columns) {
  Table table(rows, columns);
  for (double& value : table.values) value = random.value();
  return table;
}

std::vector<double> random_vector(Random& random, size_t count) { return random_table(random, 1, count).values; }

std::vector<uint32_t> random_indices(Random& random, size_t count, uint32_t bound) {
  std::vector<uint32_t> indices(count);
  for (uint32_t& index : indices) index = random.below(bound);
  return indices;
}

uint64_t activation_bytes(uint64_t rows, uint32_t columns) { return rows * kernels::padded_columns(columns) * 4; }

std::vector<kernels::WeightFormat> weight_formats() {
  std::vector<kernels::WeightFormat> formats;
  for (const kernels::WeightType type : kernels::kWeightTypes) {
    if (!kernels::is_quantised(type) || kernels::is_k_quant(type)) {
      formats.emplace_back(type);
      continue;
    }
    for (const uint32_t block : {32U, 64U, 128U}) formats.emplace_back(type, block);
  }
  return formats;
}

std::vector<uint32_t> cut_rows(const gpu::Device& device, uint32_t rows, uint32_t columns,
                               const kernels::WeightFormat& format, uint32_t parts, uint32_t together) {
  const uint64_t row_bytes =
      uint64_t{together} * kernels::padded_columns(columns, format) * kernels::weight_type_bits(format.type) / 8;
  const uint64_t most = std::max<uint64_t>((device.limits().max_binding_bytes - kTailWords * 4) / row_bytes, 1);
  std::vector<uint32_t> shards;
  uint32_t left = rows / together;
  for (uint32_t part = 1; left > 0; ++part) {
    const uint32_t share = rows / together * part / (parts * (parts + 1) / 2);  // 1, 2, 3, … parts of the whole
    const uint32_t own = part >= parts ? left : std::clamp(share, 1U, left);
    shards.push_back(static_cast<uint32_t>(std::min<uint64_t>(own, most)));
    left -= shards.back();
  }
  for (uint32_t& shard : shards) shard *= together;
  return shards;
}

}  // namespace cria::selftest
