// `cria selftest`: every kernel variant on this device against the CPU reference.
#include "selftest/selftest.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/clock.h"
#include "base/json.h"
#include "cli/command.h"

namespace cria::cli {
namespace {

using selftest::KernelReport;

struct SelftestFlags {
  DeviceFlags device;
  std::string filter;
  bool masks = false;
  bool json = false;
};

/// The reports of one device with some features masked.
struct DeviceReport {
  std::string device;
  std::string masked;  // feature names, "none" for none
  std::vector<KernelReport> kernels;
  double seconds = 0;

  [[nodiscard]] size_t failed() const {
    return static_cast<size_t>(
        std::count_if(kernels.begin(), kernels.end(), [](const KernelReport& kernel) { return kernel.failed > 0; }));
  }
};

void print(const KernelReport& report) {
  fmt::print("  {:<34}{:>4} shapes {:>5.1f} s, worst error {:.3f} of the tolerance: ", report.kernel, report.shapes,
             report.seconds, report.worst);
  if (report.failed == 0) {
    fmt::print("ok\n");
  } else {
    fmt::print("FAILED in {}: {}\n", report.failed, report.failure);
  }
  std::fflush(stdout);
}

Json to_json(const DeviceReport& report) {
  Json kernels = Json::array();
  for (const KernelReport& kernel : report.kernels) {
    kernels.push_back({{"kernel", kernel.kernel},
                       {"shapes", kernel.shapes},
                       {"failed", kernel.failed},
                       {"seconds", kernel.seconds},
                       {"worst", kernel.worst},  // null where it is infinite
                       {"failure", kernel.failure}});
  }
  return {{"device", report.device},
          {"masked", report.masked},
          {"seconds", report.seconds},
          {"ok", report.failed() == 0},
          {"kernels", std::move(kernels)}};
}

/// The cases whose kernel's name contains `filter`. Errors: kInvalidInput where there are none.
Result<std::vector<selftest::Case>> choose_cases(const gpu::Device& device, const std::string& filter) {
  std::vector<selftest::Case> cases = selftest::all_cases(device);
  std::erase_if(cases, [&](const selftest::Case& one) { return one.kernel.find(filter) == std::string::npos; });
  if (cases.empty()) {
    return fail(ErrorCode::kInvalidInput, "no kernel on {} has \"{}\" in its name (without --filter all are listed)",
                device.info().name, filter);
  }
  return cases;
}

gpu::FeatureSet both(const gpu::FeatureSet& a, const gpu::FeatureSet& b) {
  gpu::FeatureSet features;
  for (const auto& [name, member] : gpu::kFeatureNames) features.*member = a.*member || b.*member;
  return features;
}

/// Tests the device that `flags` name with `mask` masked too; nothing where that gives kernels that `done`, the
/// sets of kernels of earlier calls, holds already.
Result<std::optional<DeviceReport>> test_device(const SelftestFlags& flags, const gpu::FeatureSet& mask,
                                                std::set<std::set<std::string>>& done) {
  const auto start = Clock::now();
  CRIA_TRY_ASSIGN(gpu::DeviceOptions options, flags.device.options());
  options.disabled = both(options.disabled, mask);
  options.validates = true;
  CRIA_TRY_ASSIGN(gpu::Device device, gpu::Device::open(options));
  CRIA_TRY_ASSIGN(const std::vector<selftest::Case> cases, choose_cases(device, flags.filter));
  if (!done.insert(selftest::kernels_of(cases)).second) return std::nullopt;
  DeviceReport report{.device = device.info().name, .masked = gpu::feature_names(options.disabled), .kernels = {}};
  if (!flags.json) fmt::print("{}, masked features: {}\n", report.device, report.masked);
  selftest::run_cases(device, cases, [&](const KernelReport& kernel) {
    report.kernels.push_back(kernel);
    if (!flags.json) print(kernel);
  });
  report.seconds = seconds_since(start);
  if (!flags.json) {
    fmt::print("  {} kernels, {} shapes, {:.1f} s: {}\n", report.kernels.size(), cases.size(), report.seconds,
               report.failed() == 0 ? std::string("ok") : fmt::format("{} FAILED", report.failed()));
    std::fflush(stdout);
  }
  return report;
}

/// Errors (kDevice): a kernel failed; names the first.
Status judge(const std::vector<DeviceReport>& reports) {
  for (const DeviceReport& report : reports) {
    const auto wrong = std::find_if(report.kernels.begin(), report.kernels.end(),
                                    [](const KernelReport& kernel) { return kernel.failed > 0; });
    if (wrong == report.kernels.end()) continue;
    return fail(ErrorCode::kDevice, "{} of {} kernels are wrong on {} (masked features: {}); the first is {} with {}",
                report.failed(), report.kernels.size(), report.device, report.masked, wrong->kernel, wrong->failure);
  }
  return {};
}

Status run(const SelftestFlags& flags) {
  std::vector<DeviceReport> reports;
  std::set<std::set<std::string>> done;
  for (const gpu::FeatureSet& mask : selftest::kMasks) {
    CRIA_TRY_ASSIGN(std::optional<DeviceReport> report, test_device(flags, mask, done));
    if (report) reports.push_back(*std::move(report));
    if (!flags.masks) break;  // the first masks nothing
  }
  if (flags.json) {
    Json list = Json::array();
    for (const DeviceReport& report : reports) list.push_back(to_json(report));
    fmt::print("{}\n", list.dump(2));
  }
  return judge(reports);
}

}  // namespace

void add_selftest(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("selftest", "Compare every kernel on this device with a reference on the CPU");
  auto flags = std::make_shared<SelftestFlags>();
  flags->device.add_to(*command);
  command->add_option("--filter", flags->filter, "Only kernels with this in their name")->type_name("TEXT");
  command->add_flag("--masks", flags->masks, "Repeat with features masked, wherever that changes kernels");
  command->add_flag("--json", flags->json, "Print as JSON");
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
